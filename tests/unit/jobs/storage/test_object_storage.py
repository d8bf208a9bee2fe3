"""Object stores without a server: obstore's store in memory, and answers that lie."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.errors import SpecError, StorageError
from jobs.storage import object_store
from jobs.storage.object_store import ObjectStorage
from jobs.storage.storage_at import storage_at
from tests.storage.contract import StorageContract


@pytest.fixture
def storage() -> Iterator[ObjectStorage]:
    """In the memory of this process."""
    yield ObjectStorage(f"memory://{os.urandom(4).hex()}")
    object_store._store_at.cache_clear()


class TestInMemory(StorageContract):
    @pytest.fixture
    def storage(self, storage: ObjectStorage) -> ObjectStorage:
        return storage


class LyingStore:
    """A store whose conditional put raises after, or before, it was carried out."""

    def __init__(self, real: Any, puts: list[Callable[..., None]]) -> None:
        self._real, self._puts = real, puts

    def put(self, path: str, content: bytes, **options: Any) -> None:
        self._puts.pop(0)(self._real, path, content)

    def get(self, path: str) -> Any:
        return self._real.get(path)


class AlreadyExistsError(Exception):
    """As obstore's: only the name counts."""


def _carried_out_then(error: Exception) -> Callable[..., None]:
    def put(real: Any, path: str, content: bytes) -> None:
        real.put(path, content)
        raise error

    return put


def _raising(error: Exception) -> Callable[..., None]:
    def put(*_: object) -> None:
        raise error

    return put


BUSY = Exception("Server returned error status code: 503 Service Unavailable")


def test_that_a_file_exists_is_not_believed(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, though it was stored; the retry inside then meets our own object."""

    def put_new(*puts: Callable[..., None]) -> bool:
        lying = LyingStore(object_store._store_at(storage.url), list(puts))
        with monkeypatch.context() as patch:
            patch.setattr(object_store, "_store_at", lambda _: lying)
            return storage.put_new("job.json", b"ours")

    assert put_new(_carried_out_then(AlreadyExistsError()))
    storage.delete(["job.json"])
    assert put_new(_carried_out_then(BUSY))
    storage.delete(["job.json"])
    assert put_new(_raising(BUSY), lambda real, path, content: real.put(path, content))
    storage.put("job.json", b"theirs")
    assert not put_new(_raising(AlreadyExistsError()))
    assert not put_new(_raising(BUSY))
    storage.delete(["job.json"])
    with pytest.raises(StorageError, match="does not answer as it should"):
        put_new(*[_raising(BUSY)] * object_store.TRIES)
    with pytest.raises(StorageError, match="cannot be used"):
        put_new(_raising(ValueError("no")))


def test_an_object_that_changes_while_it_is_read_is_refused(storage: ObjectStorage) -> None:
    storage.put("f", b"x" * 200_000)
    (entry,) = storage.entries()
    with storage.open(entry) as file:
        assert file.read(10) == b"x" * 10
        storage.put("f", b"y" * 200_000)
        file.seek(150_000)
        with pytest.raises(StorageError, match="changed while it was read"):
            file.read(10)


def test_a_forked_child_gets_a_sentence_and_does_not_hang(storage: ObjectStorage) -> None:
    storage.put("f", b"1")
    inside, outside = multiprocessing.Pipe()
    child = os.fork()
    if child == 0:
        try:
            storage.get("f")
        except StorageError as error:
            outside.send(str(error))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert inside.poll(10)
    assert "forked" in inside.recv()
    assert storage.get("f") == b"1"


def test_nothing_of_ours_forks() -> None:
    """A child that is forked after obstore was used hangs; Ray and subprocess start anew."""
    root = Path(__file__).parents[4]
    for package in ("actors", "jobs", "cluster"):
        for file in (root / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert "os.fork" not in text, file
            assert "multiprocessing" not in text, file


@pytest.mark.parametrize(
    "url",
    [
        *("s3://KEY:SECRET@bucket/x", "s3://KEY:SEC/RET@bucket/x", "s3://user@bucket/x"),
        *("s3://bucket/x?secret=SECRET", "s3://bucket/x#SECRET", "ftp://host/SECRET", "s3://"),
        *("s3://bucket//SECRET", "s3://bucket/../SECRET", "hf://spaces/a/b", "hf://datasets/a"),
    ],
)
def test_a_url_with_a_key_or_no_place_is_refused(url: str) -> None:
    with pytest.raises(SpecError) as caught:
        storage_at(url)
    if "//SECRET" not in url and "../SECRET" not in url:
        assert "SECRET" not in str(caught.value)


def test_a_place_is_a_folder_or_a_url(tmp_path: Path) -> None:
    assert storage_at(tmp_path).is_local
    assert storage_at("out").url == str(Path.cwd() / "out")
    assert storage_at("s3://bucket/a/b/").url == "s3://bucket/a/b"
    assert not storage_at("hf://buckets/org/name/a").is_local
    assert storage_at("abfss://box@account.dfs.core.windows.net/a").name_of("b").endswith("/a/b")


def test_the_hub_is_no_output() -> None:
    with pytest.raises(StorageError, match=r"is no output.*publish"):
        storage_at("hf://datasets/org/name").put("f", b"")
