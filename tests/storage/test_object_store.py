"""Against a real S3-compatible server: Ceph's radosgw, which checks signatures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from actors.errors import StorageError
from jobs.storage import object_store as room
from jobs.storage.object_store import ObjectStorage
from jobs.storage.patience import patiently
from jobs.storage.storage import Storage
from jobs.storage.storage_at import storage_at
from tests.servers.object_store import ObjectStoreServer
from tests.storage.contract import StorageContract


class TestRadosgw(StorageContract):
    @pytest.fixture
    def storage(self, in_object_store: str) -> Storage:
        return storage_at(f"{in_object_store}/some folder")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    """obstore's stores read the environment once."""
    room._store_at.cache_clear()


def test_refusals_are_sentences(in_object_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(url: str) -> str:
        room._store_at.cache_clear()
        texts = []
        storage = ObjectStorage(url)
        for do in (
            lambda: storage.put("f", b"1"),
            lambda: storage.get("f"),
            storage.entries,
            lambda: storage.put_new("f", b"1"),
        ):
            with pytest.raises(StorageError) as caught:
                do()
            texts.append(str(caught.value))
            assert "<" not in texts[-1]
            assert "SECRET" not in texts[-1]
        assert len({text.partition(" ")[2] for text in texts}) == 1, texts
        return texts[0]

    assert "is in a bucket that does not exist" in said("s3://no-such-bucket/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "WRONGSECRET")
    assert "does not accept the credentials" in said(in_object_store)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODY")
    assert "does not accept the credentials" in said(in_object_store)


@pytest.fixture
def others(object_store: ObjectStoreServer) -> Iterator[tuple[str, str]]:
    """A user of the server that is not ours, by its key and secret."""
    key, secret = f"OTHER{uuid4().hex[:8]}", "OTHERSECRET"
    object_store.administer("user", "create", f"--uid={key}", "--display-name=other",
                            f"--access-key={key}", f"--secret-key={secret}")  # fmt: skip
    yield key, secret
    object_store.administer("user", "rm", f"--uid={key}", "--purge-data")


def test_a_bucket_of_somebody_else_is_denied(
    in_object_store: str, object_store: ObjectStoreServer, others: tuple[str, str]
) -> None:
    client: Any = object_store.client(*others)
    bucket = f"theirs-{uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="f", Body=b"1")
    storage = ObjectStorage(f"s3://{bucket}")
    for do in (
        lambda: storage.put("g", b"1"), lambda: storage.get("f"), storage.entries,
        lambda: storage.put_new("g", b"1"), lambda: storage.delete(["f"]),
    ):  # fmt: skip
        with pytest.raises(StorageError, match=r"may not be used with these credentials") as caught:
            do()
        assert not caught.value.passing


def test_a_store_that_is_full_is_waited_for(
    in_object_store: str,
    object_store: ObjectStoreServer,
    others: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, secret = others
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setitem(room.RETRY, "retry_timeout", room.RETRY["retry_timeout"] / 15)
    bucket = f"theirs-{uuid4().hex[:12]}"
    client: Any = object_store.client(key, secret)
    client.create_bucket(Bucket=bucket)
    quota = ("--quota-scope=user", f"--uid={key}")
    object_store.administer("quota", "set", *quota, "--max-objects=1")
    object_store.administer("quota", "enable", *quota)
    storage = ObjectStorage(f"s3://{bucket}")
    storage.put("first", b"1")
    with pytest.raises(StorageError, match=r"has no room left .*Make room there") as caught:
        storage.put("second", b"2")
    assert caught.value.passing
    object_store.administer("quota", "disable", *quota)
    patiently(lambda: storage.put("second", b"2"), 60)
    assert [entry.path for entry in storage.entries()] == ["first", "second"]


def test_a_server_that_is_not_there_may_come_back(
    in_object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(room.RETRY, "retry_timeout", room.RETRY["retry_timeout"] / 10)
    with pytest.raises(StorageError, match=r"does not answer\. Look after the network") as caught:
        ObjectStorage(in_object_store).get("f")
    assert caught.value.passing


def test_a_foreign_name_with_an_empty_step_is_named(
    in_object_store: str, object_store: ObjectStoreServer
) -> None:
    client: Any = object_store.client()
    client.put_object(Bucket=in_object_store.partition("://")[2], Key="out/data//odd", Body=b"")
    storage = ObjectStorage(f"{in_object_store}/out")
    storage.put("data/part", b"1")
    with pytest.raises(StorageError, match=r"name has an empty step .*odd.*Rename or remove it"):
        storage.entries()


def test_a_killed_writer_leaves_no_object(
    in_object_store: str, object_store: ObjectStoreServer
) -> None:
    """It dies in the midst of an upload in pieces: only the dangling upload tells of it."""
    code = (
        "import os, sys, threading, time\n"
        "from jobs.storage import object_store as room\n"
        "room.CHUNK_BYTES = 5 * 2**20\n"
        "storage = room.ObjectStorage(sys.argv[1])\n"
        "storage.put('there', b'old' * 4_000_000)\n"
        "class Slow:\n"
        "    left = 4\n"
        "    def __iter__(self): return self\n"
        "    def __next__(self):\n"
        "        self.left -= 1\n"
        "        if not self.left: os.kill(os.getpid(), 9)\n"
        "        return b'new' * 4_000_000\n"
        "storage._store.put('there', Slow(), chunk_size=room.CHUNK_BYTES)\n"
    )
    environment = {**os.environ, **object_store.environment}
    run = subprocess.run(
        [sys.executable, "-c", code, in_object_store], env=environment, capture_output=True
    )
    assert run.returncode == -9, run.stderr
    storage = ObjectStorage(in_object_store)
    assert [(entry.path, entry.size) for entry in storage.entries()] == [("there", 12_000_000)]
    client: Any = object_store.client()
    dangling = client.list_multipart_uploads(Bucket=in_object_store.partition("://")[2])
    assert len(dangling.get("Uploads", [])) <= 1


def test_no_secret_is_in_a_pickle_after_use(in_object_store: str) -> None:
    import pickle

    storage = ObjectStorage(in_object_store)
    storage.put("f", b"1")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        dumped = pickle.dumps(storage, protocol)
        assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in dumped
        assert os.environ["AWS_ACCESS_KEY_ID"].encode() not in dumped
