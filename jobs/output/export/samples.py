"""The rows of a part, one by one, with their pictures apart from their other values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import OutputError
from jobs.output.folder import OutputFolder
from jobs.output.part_file import open_part

IMAGE = "image"

BATCH_ROWS = 100
"""Read at once: a row group, at most 100 MB."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A row. `key`: its number in the dataset, of twelve digits. `picture`: the bytes of its
    picture, None where it failed, and `ending` that of its name. `values`: every column that holds
    no files, as JSON has them."""

    key: str
    picture: bytes | None
    ending: str
    values: dict[str, Any]


def pictures_of(schema: pa.Schema) -> list[str]:
    """The columns that hold files: pictures as `datasets` has them, and bytes."""
    return [field.name for field in schema if _holds_files(field.type)]


def _holds_files(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def open_checked(folder: OutputFolder, record: dict[str, Any]) -> Any:
    """A part's Parquet file, whose pages are checked when they are read. Raises OutputError."""
    index = record["part"]
    entry = folder.storage.find(folder.part_name(index))
    if entry is None or entry.size != record["bytes"]:
        raise OutputError(
            f"{folder.storage.name_of(folder.part_name(index))} is not as its record says. "
            "`bottega verify` says what to do about it."
        )
    return open_part(folder, index, check=True)


def samples_of(parquet: pq.ParquetFile, first_row: int) -> Iterator[Sample]:
    """The rows of a part, a row group in memory at a time."""
    others = set(pictures_of(parquet.schema_arrow)) - {IMAGE}
    columns = [name for name in parquet.schema_arrow.names if name not in others]
    number = first_row
    for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
        for row in batch.to_pylist():
            image = row.pop(IMAGE) or {"bytes": None, "path": ""}
            ending = PurePosixPath(image["path"]).suffix.lstrip(".")
            values = {name: as_json(value) for name, value in row.items()}
            yield Sample(f"{number:012d}", image["bytes"], ending, values)
            number += 1


def as_json(value: Any) -> Any:
    """A value as JSON has it: what JSON has no type for is text, and NaN is null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else None
        case dict():
            return {str(name): as_json(one) for name, one in value.items()}
        case list() | tuple():
            return [as_json(one) for one in value]
        case _:
            return str(value)
