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

BATCH_ROWS = 100
"""Read at once: a row group, at most 100 MB."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A row. `key`: its number in the dataset, of twelve digits. `files`: by column, the bytes of
    its pictures and the ending of their names. `values`: its other columns, as JSON has them."""

    key: str
    files: dict[str, tuple[bytes, str]]
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
    files = pictures_of(parquet.schema_arrow)
    number = first_row
    for batch in parquet.iter_batches(BATCH_ROWS):
        for row in batch.to_pylist():
            found = {name: _file(row.pop(name)) for name in files}
            values = {name: as_json(value) for name, value in row.items()}
            present = {name: file for name, file in found.items() if file is not None}
            yield Sample(f"{number:012d}", present, values)
            number += 1


def _file(value: Any) -> tuple[bytes, str] | None:
    content, path = (value["bytes"], value["path"]) if isinstance(value, dict) else (value, None)
    if content is None:
        return None
    ending = PurePosixPath(path or "").suffix.lstrip(".").lower()
    return content, ending if ending.isalnum() else "bin"


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
