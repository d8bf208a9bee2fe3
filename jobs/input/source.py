"""A file of the input, wherever it lies, as it was when it was found."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TextIO

from actors.errors import MissingError
from jobs.input.formats import Kind, kind_of
from jobs.input.unpacked import Unpacked
from jobs.storage.local import LocalStorage
from jobs.storage.storage import Entry, Storage
from jobs.storage.storage_at import file_at

LINE_BUFFER_BYTES = 2**20
"""Of a file that is read line by line: as much as one request of an object store fetches."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, by its storage and by how it was listed there. `str` is its path or URL."""

    storage: Storage
    entry: Entry

    def __str__(self) -> str:
        return self.storage.name_of(self.entry.path)

    @property
    def name(self) -> str:
        """Its name without the folders."""
        return PurePosixPath(self.entry.path).name

    @property
    def kind(self) -> Kind | None:
        """How it is read, by its name."""
        return kind_of(self.name)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.entry.size

    @property
    def local_path(self) -> Path | None:
        """Its path, if it is a file of this machine."""
        here = isinstance(self.storage, LocalStorage)
        return self.storage.folder / self.entry.path if here else None  # type: ignore[attr-defined]

    def open(self) -> BinaryIO:
        """The content, to be read from any place. Raises OSError or StorageError."""
        path = self.local_path
        return self.storage.open(self.entry) if path is None else path.open("rb")

    def open_text(self) -> TextIO:
        """The lines of a UTF-8 file without a byte order mark, unpacked; bytes that are none are
        kept. Raises InputError for a file that unpacks to too much, when it is read."""
        buffered: Any = self.open()
        if self.kind and self.kind.packing:
            buffered = Unpacked(buffered, self.kind.packing, str(self), self.size)
        if not isinstance(buffered, io.BufferedIOBase):
            buffered = io.BufferedReader(buffered, LINE_BUFFER_BYTES)
        return io.TextIOWrapper(
            buffered, encoding="utf-8-sig", errors="surrogateescape", newline=""
        )

    def for_arrow(self) -> Any:
        """What pyarrow opens: it reads a file of this machine by itself."""
        path = self.local_path
        return self.open() if path is None else path

    def is_unchanged(self) -> bool:
        """Whether it is still the file that was listed."""
        now = self.storage.find(self.entry.path)
        return now is not None and (now.size, now.version) == (self.size, self.entry.version)


def source_at(place: str | Path) -> Source:
    """The file at a path or URL. Raises MissingError if there is none."""
    storage, name = file_at(place)
    entry = storage.find(name)
    if entry is None:
        raise MissingError(storage.name_of(name), "is not there")
    return Source(storage, entry)
