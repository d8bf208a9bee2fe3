"""Exports a finished dataset, shard by shard, from any storage to any.

    TARGET/
      export.json               which dataset this is of, and in which form
      shards/NAME.json          of each file: its bytes, its hash, and of which parts it is made
      data-000000.tar ...       the files themselves

A shard's entry is put last. So an export that was interrupted goes on with the shards that have
none; and one whose dataset changed (by `retry`, or by `--extend`) makes those anew that changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from actors.errors import OutputError
from jobs.output.export.claim import claim
from jobs.output.export.metadata import without_pictures, write_metadata
from jobs.output.export.samples import Sample, open_checked, samples_of
from jobs.output.export.shards import SHARD_BYTES, Shard, cut
from jobs.output.export.webdataset import write_tar
from jobs.output.folder import OutputFolder
from jobs.output.job_file import dataset_id
from jobs.parquet_writing import Hashed
from jobs.storage.storage import Storage

Form = Literal["webdataset", "metadata"]

FORMAT = 1
"""Of export.json and of the shards' entries."""

OURS = re.compile(r"(data|metadata)-\d{6}\.(tar|parquet)|shards/(data|metadata)-\d{6}\.\w+\.json")
"""The names of shards and of their entries."""

METADATA_ROWS = 1_000_000
"""Of a file of metadata. Chosen: prompts and scores of a million rows are some 100 MB."""


@dataclass(frozen=True, slots=True)
class ExportedShard:
    """A file that is in place. `without_picture`: rows that were left out, as they have none.
    `made`: whether this run made it."""

    name: str
    num_bytes: int
    samples: int
    without_picture: int
    made: bool


def export(
    folder: OutputFolder,
    target: Storage,
    form: Form,
    shard_bytes: int = SHARD_BYTES,
    on_step: Callable[[str], None] = lambda step: None,
) -> Iterator[ExportedShard]:
    """Write each shard that is not there yet; yields all of them in order.

    Raises OutputError for a dataset that is not complete, and for a target that holds something
    else; StorageError where a storage fails.
    """
    records = complete_records(folder)
    if form == "webdataset":
        shards = cut(records, "data-{}.tar", shard_bytes)
    else:
        shards = cut(records, "metadata-{}.parquet", METADATA_ROWS, size_of="rows")
    _claim(target, folder, form)
    for number, shard in enumerate(shards):
        on_step(f"{shard.name}: {number + 1:,} of {len(shards):,}")
        found = _there(target, shard)
        if found is None:
            found = _write(folder, target, form, shard, records)
        yield found
    _remove_others(target, shards)


def complete_records(folder: OutputFolder) -> dict[int, dict[str, Any]]:
    """The records of all parts. Raises OutputError where parts are missing."""
    job, records = folder.require_job(), folder.records()
    rows = sum(record["rows"] for record in records.values())
    if rows != job["rows"] or not records:
        raise OutputError(
            f"{folder.url!r} has {rows:,} of {job['rows']:,} rows. Run its job to the end first."
        )
    return records


def _claim(target: Storage, folder: OutputFolder, form: Form) -> None:
    """Refuse a target that holds something else than this export, whole or half."""
    ours = {"format": FORMAT, "form": form, "dataset_id": dataset_id(folder.require_job())}
    content = json.dumps(ours, indent=2).encode() + b"\n"
    another = "the export of another dataset, or another form of this one"
    claim(target, "export.json", content, another)


def _there(target: Storage, shard: Shard) -> ExportedShard | None:
    """The shard, if it is in place, whole, and of these very parts."""
    written, entry = target.find(_entry_name(shard)), target.find(shard.name)
    if written is None or entry is None:
        return None
    try:
        found = json.loads(target.get(written.path))
        if (found["source"], found["bytes"]) != (shard.source, entry.size):
            return None
        counts = int(found["samples"]), int(found["without_picture"])
    except (ValueError, KeyError, TypeError):
        return None
    return ExportedShard(shard.name, entry.size, *counts, made=False)


def _entry_name(shard: Shard) -> str:
    return f"shards/{shard.name}.json"


def _write(
    folder: OutputFolder,
    target: Storage,
    form: Form,
    shard: Shard,
    records: Mapping[int, dict[str, Any]],
) -> ExportedShard:
    samples = without = 0
    target.delete([_entry_name(shard)])
    with target.writing(shard.name) as file:
        hashed: Any = Hashed(file)
        if form == "webdataset":
            samples, without = write_tar(hashed, _samples(folder, shard, records))
        else:
            samples = write_metadata(hashed, _tables(folder, shard, records))
    entry = target.find(shard.name)
    if entry is None or entry.size != hashed.size:
        raise OutputError(f"{target.name_of(shard.name)} is not as it was written. Export again.")
    content = {
        "format": FORMAT,
        "source": shard.source,
        "parts": [shard.parts[0], shard.parts[-1]],
        "bytes": hashed.size,
        "sha256": hashed.digest.hexdigest(),
        "samples": samples,
        "without_picture": without,
    }
    target.put(_entry_name(shard), json.dumps(content, indent=2).encode() + b"\n")
    return ExportedShard(shard.name, hashed.size, samples, without, made=True)


def _samples(
    folder: OutputFolder, shard: Shard, records: Mapping[int, dict[str, Any]]
) -> Iterator[Sample]:
    for index in shard.parts:
        with open_checked(folder, records[index]) as parquet:
            yield from samples_of(parquet, records[index]["first_row"])


def _tables(
    folder: OutputFolder, shard: Shard, records: Mapping[int, dict[str, Any]]
) -> Iterator[pa.Table]:
    for index in shard.parts:
        with open_checked(folder, records[index]) as parquet:
            yield from without_pictures(parquet, records[index]["first_row"])


def _remove_others(target: Storage, shards: list[Shard]) -> None:
    """Remove the shards that this dataset has no longer: with other parts it is cut anew."""
    ours = {shard.name for shard in shards} | {_entry_name(shard) for shard in shards}
    names = (entry.path for entry in target.entries())
    target.delete([name for name in names if OURS.fullmatch(name) and name not in ours])
