"""The rows' own pictures: as bytes, as paths, or as Hugging Face's structs of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import has_magic
from pathlib import Path, PurePosixPath

import pyarrow as pa

from jobs.input.globs import fixed_part
from jobs.input.picture_urls import fetch_pictures
from jobs.input.validate import is_text
from jobs.storage.urls import is_url


def is_picture(kind: pa.DataType) -> bool:
    """Whether a column can hold pictures: bytes, paths, or Hugging Face's structs of both."""
    if pa.types.is_struct(kind):
        inner = {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}
        both = {"bytes", "path"} <= inner.keys()
        return both and _is_binary(inner["bytes"]) and is_text(inner["path"])
    return _is_binary(kind) or is_text(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def folder_of(pattern: str) -> str:
    """The place that paths in an input are relative to: `input` itself, or what it lies in."""
    if is_url(pattern):
        fixed, rest = fixed_part(pattern)
        is_file = not rest and PurePosixPath(fixed).suffix != ""
        return fixed.rpartition("/")[0] if is_file else fixed
    path = Path(pattern).expanduser().absolute()
    if path.is_dir():
        return str(path)
    steps = path.parts
    whole = len(steps) - 1
    if not path.exists():
        whole = next((n for n, step in enumerate(steps) if has_magic(step)), whole)
    return str(Path(*steps[:whole]))


class RowImages:
    """The rows' own pictures, left in the input's table until their rows are drawn.

    Those at URLs are fetched when the part is read, so that a picture that is missing fails its
    row. column: bytes, paths, or structs of both. folder: what relative paths are relative to.
    roots: the places, besides the input's, that URLs may be below.
    """

    def __init__(self, column: pa.ChunkedArray, folder: str, roots: Sequence[str] = ()) -> None:
        self._column, self._folder, self._roots = column, folder, roots
        self._fetched: dict[int, bytes] = {}

    def __getitem__(self, row: int) -> bytes | str:
        """The bytes of a picture's file, or the file's path."""
        if row in self._fetched:
            return self._fetched[row]
        value = self._value(row)
        assert value is not None
        return value if isinstance(value, bytes) else str(Path(self._folder) / value)

    def _value(self, row: int) -> bytes | str | None:
        value = self._column[row].as_py()
        if isinstance(value, dict):
            value = value["bytes"] or value["path"]
        found: bytes | str | None = value or None
        return found

    def problems(self) -> Iterator[tuple[int, str]]:
        """The rows without a picture, with the reason. Raises InputError for a store that fails."""
        urls: dict[int, str] = {}
        for row in range(len(self._column)):
            value = self._value(row)
            if value is None:
                yield row, f"the picture is {'null' if self._is_null(row) else 'empty'}"
            elif isinstance(value, str) and (is_url(value) or is_url(self._folder)):
                urls[row] = value
            elif isinstance(value, str) and "\0" in value:
                yield row, f"the picture {value[:100]!r} is no path of this machine. Mend it"
        fetched = fetch_pictures(list(urls.values()), self._folder, self._roots)
        for row, content in zip(urls, fetched, strict=True):
            if isinstance(content, bytes):
                self._fetched[row] = content
            else:
                yield row, content

    def _is_null(self, row: int) -> bool:
        value = self._column[row].as_py()
        return value is None or (
            isinstance(value, dict) and value["bytes"] is None and value["path"] is None
        )
