"""The interface of every storage: files by name, put in place whole or not at all.

    local.py          a folder of this machine, or of a network's disk
    object_store.py   S3, GCS, Azure, Hugging Face buckets, by obstore
    hub.py            hf:// repositories, to read from

`jobs.storage.storage_at` chooses one by a URL. Names are relative to a storage's `url`, with `/`
between their steps on every system.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, NamedTuple

from actors.errors import MissingError

PARALLEL = 64
"""Small files that are read at once. Measured on an object store: 10,000 of them take 5 s with 128
threads and 27 s with 16; threads that wait cost little."""


class Entry(NamedTuple):
    """A file as it was listed. size: bytes. modified: seconds by the storage's clock, not ours.
    version: another text for another content, as far as the storage says so.

    A tuple, as a listing makes a hundred thousand of them, and a dataclass takes twice as long.
    """

    path: str
    size: int
    modified: float
    version: str


class Storage(ABC):
    """Files by their names relative to `url`. Making the object touches nothing.

    Every method raises StorageError, whose sentence names the URL and the next step, and
    MissingError for a file that is not there. It pickles as its URL: a key is read from the
    environment of the process that uses it, and never travels.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    @abstractmethod
    def is_local(self) -> bool:
        """Whether its files are those of this machine's file system."""

    @abstractmethod
    def entries(self, below: str = "", most: int | None = None) -> list[Entry]:
        """The files below a folder, at any depth, by name; at most the first `most` of them found.

        Empty where there is nothing. Temporary files of writers are left out.
        """

    @abstractmethod
    def find(self, path: str) -> Entry | None:
        """The file of that name; None where there is none."""

    @abstractmethod
    def get(self, path: str) -> bytes:
        """The content of a file."""

    @abstractmethod
    def open(self, entry: Entry) -> BinaryIO:
        """The content of a listed file, to be read from any place. The caller closes it."""

    @abstractmethod
    def create(self) -> None:
        """Make the folder itself, where folders exist."""

    @abstractmethod
    def put(self, path: str, content: bytes) -> None:
        """Put a file in place whole, or not at all; it replaces one of that name."""

    @abstractmethod
    def put_new(self, path: str, content: bytes) -> bool:
        """Put a file in place unless there is one. Whether the content there is this one.

        Of several writers of different contents one wins, and is the only one that gets True.
        """

    @abstractmethod
    def writing(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file to write to; the end of the block puts it in place whole, unless it raises."""

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Remove files. One that is not there is no error."""

    def folders(self) -> list[str]:
        """The folders right below, by name; of an object store, the steps that names have next."""
        names = (entry.path.partition("/") for entry in self.entries())
        return sorted({name for name, slash, _ in names if slash})

    def links(self) -> list[str]:
        """The links below, or the place itself if it is one: only folders of a machine have any."""
        return []

    def erase(self, paths: Iterable[str]) -> None:
        """Remove files, never through a link, and folders that are empty then, the place's own
        too."""
        self.delete(paths)

    @abstractmethod
    def strays(self, now: float) -> list[str]:
        """The temporary files whose writers are gone. now: seconds, by the storage's clock."""

    def get_many(self, paths: Sequence[str]) -> Iterator[bytes | MissingError]:
        """The contents of files, in order, many read at once."""

        def one(path: str) -> bytes | MissingError:
            try:
                return self.get(path)
            except MissingError as error:
                return error

        if not paths:
            return
        with ThreadPoolExecutor(min(PARALLEL, len(paths))) as readers:
            yield from readers.map(one, paths)

    def name_of(self, path: str) -> str:
        """The whole name of a file, for people."""
        return f"{self.url}/{path}".rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other.url == self.url

    def __hash__(self) -> int:
        return hash((type(self), self.url))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"
