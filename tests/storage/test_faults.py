"""A store that answers 503 to one request in ten, half of them after it did what it was asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Timer

import pytest

from actors.errors import StorageError
from jobs.storage import object_store as room
from jobs.storage.object_store import ObjectStorage
from jobs.storage.patience import patiently
from tests.servers.flaky_proxy import FlakyProxy, flaky_proxy
from tests.servers.object_store import ObjectStoreServer


@pytest.fixture
def proxy(
    in_object_store: str, object_store: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FlakyProxy]:
    with flaky_proxy(object_store.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        room._store_at.cache_clear()
        yield proxy
    room._store_at.cache_clear()


def test_a_flaky_store_loses_nothing(proxy: FlakyProxy, in_object_store: str) -> None:
    storage = ObjectStorage(f"{in_object_store}/flaky")
    names = [f"data/{n % 3:05d}/part-{n}" for n in range(60)]
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda name: storage.put(name, name.encode()), names))
    assert sorted(entry.path for entry in storage.entries("data")) == sorted(names)
    assert list(storage.get_many(names)) == [name.encode() for name in names]
    assert proxy.failed > 10


def test_a_slow_store_takes_its_time(proxy: FlakyProxy, in_object_store: str) -> None:
    storage = ObjectStorage(f"{in_object_store}/slow")
    proxy.delay_seconds = 1.0
    assert storage.put_new("job.json", b"{}")
    with storage.writing("part") as file:
        file.write(b"x" * 2_000_000)
    assert storage.get("part") == b"x" * 2_000_000


def test_of_many_writers_one_wins_though_answers_are_lost(
    proxy: FlakyProxy, in_object_store: str
) -> None:
    storage = ObjectStorage(f"{in_object_store}/once")
    for turn in range(12):
        contents = [f"{turn} by {n}".encode() for n in range(5)]
        name = f"job-{turn}.json"

        def put(content: bytes, name: str = name) -> bool:
            return storage.put_new(name, content)

        with ThreadPoolExecutor(5) as writers:
            won = list(writers.map(put, contents))
        there = storage.get(name)
        assert [content for content, is_ours in zip(contents, won, strict=True) if is_ours] == [
            there
        ]
    assert proxy.failed > 5


def test_a_store_that_is_away_is_waited_for_and_the_log_says_so(
    proxy: FlakyProxy,
    in_object_store: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(room.RETRY, "retry_timeout", room.RETRY["retry_timeout"] / 15)
    storage = ObjectStorage(in_object_store)
    storage.put("f", b"1")
    proxy.is_away = True
    with pytest.raises(StorageError, match="does not answer") as caught:
        storage.get("f")
    assert caught.value.passing
    Timer(2.0, lambda: setattr(proxy, "is_away", False)).start()
    with caplog.at_level(logging.WARNING, "bottega.storage"):
        assert patiently(lambda: storage.get("f"), 60) == b"1"
    assert "does not answer" in caplog.text
    assert ": tried again in" in caplog.text
