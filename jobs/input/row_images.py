"""The rows' own pictures: as bytes, as paths, or as Hugging Face's structs of both."""

from __future__ import annotations

from collections.abc import Iterator
from glob import has_magic
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as compute

from jobs.input.validate import is_text


def is_picture(kind: pa.DataType) -> bool:
    """Whether a column can hold pictures: bytes, paths, or Hugging Face's structs of both."""
    if pa.types.is_struct(kind):
        inner = {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}
        both = {"bytes", "path"} <= inner.keys()
        return both and _is_binary(inner["bytes"]) and is_text(inner["path"])
    return _is_binary(kind) or is_text(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def folder_of(pattern: str) -> Path:
    """The folder that paths in an input are relative to: `input` itself, or the one it lies in."""
    path = Path(pattern).expanduser().absolute()
    if path.is_dir():
        return path
    steps = path.parts
    whole = len(steps) - 1
    if not path.exists():
        whole = next((n for n, step in enumerate(steps) if has_magic(step)), whole)
    return Path(*steps[:whole])


class RowImages:
    """The rows' own pictures, left in the input's table until their rows are drawn."""

    def __init__(self, column: pa.ChunkedArray, folder: Path) -> None:
        self._column, self._folder = column, folder

    def __getitem__(self, row: int) -> bytes | str:
        """The bytes of a picture's file, or the file's path."""
        value = self._column[row].as_py()
        if isinstance(value, dict):
            value = value["bytes"] or value["path"]
        return value if isinstance(value, bytes) else str(self._folder / value)

    def problems(self) -> Iterator[tuple[int, str]]:
        """The rows without a picture, with the reason."""
        column = self._column
        if pa.types.is_struct(column.type):
            inside, paths = (compute.struct_field(column, name) for name in ("bytes", "path"))
            has_bytes = compute.fill_null(compute.greater(compute.binary_length(inside), 0), False)
            column = compute.if_else(has_bytes, "bytes", paths)
        empty = compute.equal(compute.binary_length(column), 0)
        for row, (is_null, is_empty) in enumerate(
            zip(compute.is_null(column).to_pylist(), empty.to_pylist(), strict=True)
        ):
            if is_null or is_empty:
                yield row, f"the picture is {'null' if is_null else 'empty'}"
        if is_text(column.type):
            for row, path in enumerate(column.to_pylist()):
                if path and ("://" in path or "\0" in path):
                    problem = f"the picture {path[:100]!r} is no path of this machine"
                    yield row, f"{problem}. Mount or copy it"
