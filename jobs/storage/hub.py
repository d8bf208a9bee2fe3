"""Repositories of the Hugging Face hub, to read from: `hf://datasets/ORG/NAME`.

They are no output: the hub commits what an error cut short, has no put-if-absent, and wants few
commits. A finished dataset is published there whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, BinaryIO, NoReturn, cast

from huggingface_hub import HfFileSystem
from huggingface_hub.errors import HfHubHTTPError

from actors.errors import MissingError, StorageError
from jobs.storage.storage import Entry, Storage
from jobs.storage.urls import checked


class HubStorage(Storage):
    """The files of a repository, or of a folder in one, as they are now."""

    def __init__(self, url: str) -> None:
        super().__init__(checked(url))
        self._root = self.url.partition("://")[2]

    @property
    def is_local(self) -> bool:
        """It is not."""
        return False

    @cached_property
    def _hub(self) -> Any:
        return HfFileSystem()

    def entries(self, below: str = "", most: int | None = None) -> list[Entry]:
        """The files of the repository."""
        where = f"{self._root}/{below}".rstrip("/")
        try:
            found = self._hub.find(where, detail=True, refresh=True)
        except FileNotFoundError:
            return []
        except (HfHubHTTPError, OSError) as error:
            raise self._explained(error, below) from None
        entries = [self._entry(one) for one in found.values()]
        return sorted(entries, key=lambda entry: entry.path)[:most]

    def find(self, path: str) -> Entry | None:
        """The file of that name."""
        try:
            found = self._hub.info(f"{self._root}/{path}".rstrip("/"), refresh=True)
        except FileNotFoundError:
            return None
        except (HfHubHTTPError, OSError) as error:
            raise self._explained(error, path) from None
        return self._entry(found) if found["type"] == "file" else None

    def get(self, path: str) -> bytes:
        """The content of a file."""
        try:
            return cast(bytes, self._hub.cat_file(f"{self._root}/{path}"))
        except (HfHubHTTPError, OSError) as error:
            raise self._explained(error, path) from None

    def open(self, entry: Entry) -> BinaryIO:
        """Ranges of the file."""
        try:
            return cast(BinaryIO, self._hub.open(f"{self._root}/{entry.path}", "rb"))
        except (HfHubHTTPError, OSError) as error:
            raise self._explained(error, entry.path) from None

    def _entry(self, found: dict[str, Any]) -> Entry:
        path = found["name"].removeprefix(self._root).lstrip("/")
        version = found.get("blob_id") or (found.get("lfs") or {}).get("sha256") or ""
        return Entry(path, found["size"], 0.0, str(version))

    def _explained(self, error: Exception, path: str) -> StorageError:
        where = self.name_of(path)
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if isinstance(error, FileNotFoundError) or status == 404:
            return MissingError(where, "is not there, or these credentials may not see it")
        if status in (401, 403):
            return StorageError(
                where, f"may not be read with these credentials ({status}). Set HF_TOKEN"
            )
        return StorageError(
            where, f"does not answer ({type(error).__name__}). Look after the network", passing=True
        )

    def create(self) -> None:
        """Refused."""
        self._refuse()

    def put(self, path: str, content: bytes) -> None:
        """Refused."""
        self._refuse()

    def put_new(self, path: str, content: bytes) -> bool:
        """Refused."""
        self._refuse()

    def writing(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Refused."""
        self._refuse()

    def delete(self, paths: Iterable[str]) -> None:
        """Refused."""
        self._refuse()

    def strays(self, now: float) -> list[str]:
        """None."""
        return []

    def _refuse(self) -> NoReturn:
        raise StorageError(
            self.url,
            "is a repository of the hub, which is no output. Write to a folder or a bucket "
            "(hf://buckets/ORG/NAME), and publish the finished dataset",
        )
