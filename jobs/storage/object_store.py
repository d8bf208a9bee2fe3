"""A prefix of an object store, by obstore: S3 and what speaks S3, GCS, Azure, Hugging Face buckets.

An object is whole as soon as it is seen: a put that fails publishes nothing, and neither does a
process that is killed. A part is written to a temporary file of this machine and uploaded in one
go, because an upload that follows a stream would publish what an error cut short.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache, partial
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from actors.errors import MissingError, StorageError
from jobs.storage.credentials import connection_of
from jobs.storage.error_sentences import explained
from jobs.storage.patience import patiently
from jobs.storage.range_file import RangeFile
from jobs.storage.storage import Entry, Storage
from jobs.storage.urls import checked

RETRY: dict[str, Any] = {
    "max_retries": 100,
    "retry_timeout": timedelta(seconds=15),
    "backoff": {
        "init_backoff": timedelta(seconds=0.2),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
}
"""Within one call. Short, because what takes longer is waited for where it is said to the user
(jobs/storage/patience.py); obstore's own defaults give up after 2 to 4 s of refused connections."""

READ_PATIENCE_SECONDS = 300.0
"""For a store that goes away while a file is read. As long as a commit waits for one; a row group
that is read anew costs less than the job."""

TIMEOUT = "120s"
"""Of one request. Chosen: a chunk of 64 MiB at half a megabyte a second."""
CHUNK_BYTES = 64 * 2**20
"""Of an upload in pieces. A smaller object is one request, of which a kill leaves nothing."""
CHUNKS_AT_ONCE = 2
"""128 MiB in memory for each upload; several parts are uploaded at a time."""
SPOOL_BYTES = 2**20
"""A longer file is written to the disk of this machine until it is uploaded."""
LISTED_AT_ONCE = 16
"""Folders that are listed at a time: each takes a request for every 1,000 names."""
TRIES = 4
"""Of a put whose answer did not say whether it was done."""

_forked_after_use = False


def _note_fork() -> None:
    global _forked_after_use
    _forked_after_use = _store_at.cache_info().currsize > 0


# The child of a fork has obstore's locks without its threads: each call would wait for ever.
os.register_at_fork(after_in_child=_note_fork)


class ObjectStorage(Storage):
    """Objects below a URL, `s3://BUCKET/PREFIX` or its like."""

    def __init__(self, url: str) -> None:
        super().__init__(url if url.startswith("memory://") else checked(url))

    @property
    def is_local(self) -> bool:
        """It is not."""
        return False

    def entries(self, below: str = "", most: int | None = None) -> list[Entry]:
        """The objects below a prefix. Folders in it are listed side by side."""
        with self._explaining(below):
            if most is not None:
                objects = (
                    o for some in self._store.list(below or None, chunk_size=50) for o in some
                )
                found = list(islice(objects, most))
            else:
                found = self._list_folders(below)
        return sorted(map(_entry, found), key=lambda entry: entry.path)

    def _list_folders(self, below: str) -> list[Any]:
        here = self._store.list_with_delimiter(below or None)
        folders = here["common_prefixes"]
        found = list(here["objects"])

        def listed(folder: str) -> list[Any]:
            return [one for some in self._store.list(folder) for one in some]

        if folders:
            with ThreadPoolExecutor(min(LISTED_AT_ONCE, len(folders))) as listers:
                for some in listers.map(listed, folders):
                    found += some
        return found

    def folders(self) -> list[str]:
        """The prefixes right below, of which one request lists a thousand."""
        with self._explaining():
            found = self._store.list_with_delimiter(None)["common_prefixes"]
        return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found)

    def find(self, path: str) -> Entry | None:
        """The object of that name."""
        try:
            with self._explaining(path):
                return _entry(self._store.head(path))
        except MissingError:
            return None

    def get(self, path: str) -> bytes:
        """The content of an object."""
        with self._explaining(path):
            return bytes(self._store.get(path).bytes())

    def open(self, entry: Entry) -> BinaryIO:
        """Ranges of the object, as long as it is the one that was listed."""

        def fetch(start: int, end: int) -> bytes:
            return patiently(partial(fetch_once, start, end), READ_PATIENCE_SECONDS)

        def fetch_once(start: int, end: int) -> bytes:
            with self._explaining(entry.path):
                # radosgw answers 412 to a right If-Match, so the version is compared here.
                answer = self._store.get(entry.path, options={"range": (start, end)})
                content = bytes(answer.bytes())
                version = _version(answer.meta)
            if version != entry.version:
                raise StorageError(
                    self.name_of(entry.path), "changed while it was read. Put it back as it was"
                )
            return content

        return RangeFile(entry.size, fetch)  # type: ignore[return-value]

    def create(self) -> None:
        """There is nothing to make: a prefix is no folder."""

    def put(self, path: str, content: bytes) -> None:
        """Put an object in place."""
        with self._explaining(path):
            self._put(path, content)

    def put_new(self, path: str, content: bytes) -> bool:
        """Put an object in place unless there is one.

        The answer is not believed: "it exists" may be about this very put, whose first answer was
        lost, and one without an answer may have been carried out. What is there decides.
        """
        told: StorageError | None = None
        for _ in range(TRIES):
            try:
                self._store.put(path, content, mode="create")
                return True
            except Exception as error:  # noqa: BLE001 - obstore has no class for all of its errors
                told = explained(error, self.name_of(path))
                exists = type(error).__name__ in ("AlreadyExistsError", "PreconditionError")
                if not (exists or told.passing):
                    raise told from None
            try:
                return self.get(path) == content
            except MissingError:
                continue  # the one that was there is gone, or nothing was carried out
        assert told is not None
        raise told

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """A file of this machine, which is uploaded at the end of the block."""
        with TemporaryFile(prefix="bottega-") as spooled:
            yield spooled
            size = spooled.tell()
            spooled.seek(0)
            with self._explaining(path):
                self._put(path, spooled.read() if size <= SPOOL_BYTES else spooled)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects."""
        for path in paths:
            try:
                with self._explaining(path):
                    self._store.delete(path)
            except MissingError:
                pass

    def strays(self, now: float) -> list[str]:
        """None: what an upload left is no object. docs/storage.md has the rule that removes it."""
        return []

    def _put(self, path: str, content: Any) -> None:
        self._store.put(path, content, chunk_size=CHUNK_BYTES, max_concurrency=CHUNKS_AT_ONCE)

    @property
    def _store(self) -> Any:
        if _forked_after_use:
            raise StorageError(
                self.url,
                "cannot be used in a process that was forked after its parent used an object "
                "store. Start it by `spawn`",
            )
        return _store_at(self.url)

    @contextmanager
    def _explaining(self, path: str = "") -> Iterator[None]:
        """Turns an error of obstore into a sentence. Its own text shows hosts, ids and XML."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - obstore has no class for all of its errors
            raise explained(error, self.name_of(path)) from None


@lru_cache(maxsize=64)
def _store_at(url: str) -> Any:
    """obstore's object for a URL, made once in each process."""
    import obstore.store

    if url.startswith("memory://"):
        return obstore.store.MemoryStore()
    if url.startswith(("https://", "http://")):
        client: Any = {"timeout": TIMEOUT, "allow_http": url.startswith("http://")}
        return obstore.store.HTTPStore.from_url(url, client_options=client, retry_config=RETRY)  # type: ignore[arg-type]
    where = connection_of(url)
    options: dict[str, Any] = {
        "config": where.config,
        "client_options": {"timeout": TIMEOUT, **where.client},
        "retry_config": RETRY,
    }
    if where.use_boto3:
        options["credential_provider"] = _profile(url)
    return obstore.store.from_url(where.url, **options)


def _profile(url: str) -> Any:
    """Credentials of AWS's files: profiles, single sign-on, assumed roles."""
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except (BotoCoreError, ValueError) as error:
        raise StorageError(
            url, f"needs credentials, and AWS's profile has none ({error}). Set them, or sign on"
        ) from None


def _entry(found: Any) -> Entry:
    return Entry(found["path"], found["size"], found["last_modified"].timestamp(), _version(found))


def _version(found: Any) -> str:
    # Servers quote an e_tag in one answer and not in another.
    return str(found["e_tag"] or "").strip('"')
