"""Compares a dataset with its records and its job, byte by byte, and changes nothing.

It reads, hashes and opens every part, and decodes every picture. Each fault is a `Problem`: one
line, with the next step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from time import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from actors.seeds import row_seed
from jobs.output.atomic import is_stray, temporary_files
from jobs.output.columns import IMAGE, ROW_GROUP_ROWS, our_columns
from jobs.output.folder import OutputFolder
from jobs.output.records import read_record

REDO = "Remove its record and run the job again: the part is redone"
RUN = "Run the job again: the part is done anew"


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a dataset: its place, what it is, and the next step."""

    where: str
    what: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.next_step}."


def verify(folder: OutputFolder) -> Iterator[Problem]:
    """The faults of a dataset, part by part; none for a good one.

    A job that has not ended has faults: its missing parts. Raises OutputError for a folder without
    job.json.
    """
    job = folder.require_job()
    rows, size = int(job["rows"]), int(job["identity"]["spec"]["rows_per_part"])
    wanted = range(-(-rows // size))
    good: dict[int, dict[str, Any]] = {}
    broken: set[int] = set()
    for file in folder.record_files():
        try:
            record = read_record(file)
        except ValueError as error:
            broken.add(int(number) if (number := file.stem[5:]).isdecimal() else -1)
            yield Problem(f"records/{file.name}", f"{error}", RUN)
        else:
            good[record["part"]] = record
    unmade: list[int] = []
    for index in sorted({*wanted, *good}):
        if index not in good:
            if folder.part_file(index).is_file() and index not in broken:
                yield Problem(f"part {index}", "it has no record, so it does not count", RUN)
            elif index not in broken:
                unmade.append(index)
        elif index not in wanted:
            beyond = f"the job's {rows:,} rows end before it"
            yield Problem(f"part {index}", beyond, "Remove it and its record")
        else:
            first = index * size
            yield from _Check(folder, job, good[index], first, min(size, rows - first)).problems()
    if unmade:
        count = f"{len(unmade)} of {len(wanted)} parts are not there"
        yield Problem(f"part {unmade[0]}", f"{count}, this one first", "Run the job again")
    elif not (folder.path / "_SUCCESS").is_file():
        yield Problem("_SUCCESS", "it is not there: the job has not ended", "Run the job again")
    yield from _strangers(folder, wanted)


def _strangers(folder: OutputFolder, wanted: range) -> Iterator[Problem]:
    known = {folder.part_file(index) for index in wanted}
    for file in sorted((folder.path / "data").glob("[!.]*")):
        # A part beyond the end that has a record is a problem of its record, yielded above.
        if file not in known and not (folder.path / "records" / f"{file.stem}.json").is_file():
            yield Problem(_name(folder, file), "it is no part of this job", "Remove it")
    now = time()
    for file in temporary_files(folder.path):
        if is_stray(file, now):
            dead = "a temporary file of a process that is gone"
            yield Problem(_name(folder, file), dead, "Remove it, or run the job again")


def _name(folder: OutputFolder, file: Path) -> str:
    return file.relative_to(folder.path).as_posix()


@dataclass(frozen=True, slots=True)
class _Check:
    """Compares a part with its record and with the job. first, rows: its rows by the job."""

    folder: OutputFolder
    job: dict[str, Any]
    record: dict[str, Any]
    first: int
    rows: int

    def problems(self) -> Iterator[Problem]:
        file = self.folder.part_file(self.record["part"])
        for name, wanted in (("first_row", self.first), ("rows", self.rows)):
            if self.record[name] != wanted:
                differs = f"its record says {name} {self.record[name]}, and the job {wanted}"
                yield self._problem(differs, REDO)
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            yield self._problem("it has a record, and no file", RUN)
            return
        except OSError as error:
            yield self._problem(f"it cannot be read ({error.strerror})", "Check the disk")
            return
        if len(content) != self.record["bytes"]:
            sizes = f"it has {len(content)} bytes, and was written with {self.record['bytes']}"
            yield self._problem(sizes, RUN)
        elif sha256(content).hexdigest() != self.record["sha256"]:
            yield self._problem("its bytes are not those that were written (sha256)", REDO)
        else:
            for what in self._content(content):
                yield self._problem(what, REDO)

    def _problem(self, what: str, next_step: str) -> Problem:
        return Problem(f"part {self.record['part']}", what, next_step)

    def _content(self, content: bytes) -> Iterator[str]:
        """The faults inside a part whose bytes are those that were written."""
        try:
            with pq.ParquetFile(BytesIO(content)) as parquet:
                yield from self._parquet(parquet)
        except (pa.ArrowException, OSError) as error:
            yield f"it is not a Parquet file of ours ({str(error).splitlines()[0]})"

    def _parquet(self, parquet: pq.ParquetFile) -> Iterator[str]:
        id_column = self.job["identity"]["spec"]["id_column"]
        ours = our_columns("student_image" in parquet.schema_arrow.names)
        wanted = [*ours, *([id_column] if id_column else [])]
        missing = [name for name in wanted if name not in parquet.schema_arrow.names]
        if missing:
            yield f"it has no column {missing[0]!r}"
            return
        rows = failed = 0
        for row in _rows(parquet, wanted):
            number = self.first + rows
            yield from (f"row {number}: {what}" for what in self._row(row, number))
            rows += 1
            failed += row["status"] == "failed"
        for name, counted in (("rows", rows), ("failed", failed)):
            if counted != self.record[name]:
                yield f"it has {counted} for {name}, and its record says {self.record[name]}"

    def _row(self, row: dict[str, Any], number: int) -> Iterator[str]:
        """The faults of one row. number: its place in the dataset."""
        spec = self.job["identity"]["spec"]
        given = row[spec["id_column"]] if spec["id_column"] else None
        name = number if given in (None, "") else given
        if row["seed"] is None:
            yield "it has no seed"
        elif spec["seed_column"] is None and row["seed"] != row_seed(spec["seed"], str(name)):
            yield f"its seed is not that of {name!r}: wrong order"
        well = row["status"] == "ok" and row["error"] is None and row["image"] is not None
        ill = row["status"] == "failed" and bool(row["error"]) and row["image"] is None
        if not well and not ill:
            picture = "no picture" if row["image"] is None else "a picture"
            yield f"status {row['status']!r} with error {row['error']!r} and {picture}"
        for name, kind in our_columns("student_image" in row).items():
            if kind == IMAGE and row[name] is not None:
                yield from (f"{name}: {what}" for what in _picture(row[name], number))


def _rows(parquet: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in parquet.iter_batches(ROW_GROUP_ROWS, columns=columns):
        table = pa.table(batch)
        names = table.column_names
        for values in zip(*(table.column(name).to_pylist() for name in names), strict=True):
            yield dict(zip(names, values, strict=True))


def _picture(image: dict[str, Any], number: int) -> Iterator[str]:
    if not str(image["path"]).startswith(f"{number:012d}"):
        yield f"it is of another row ({image['path']})"
    try:
        with Image.open(BytesIO(image["bytes"] or b"")) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        yield f"it does not decode ({type(error).__name__})"
