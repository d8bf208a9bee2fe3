"""The timeline: appended to in a folder, put anew in an object store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from jobs.output.timeline import PUT_SECONDS, TimelineFile
from jobs.storage import object_store
from jobs.storage.local import LocalStorage
from jobs.storage.object_store import ObjectStorage
from jobs.storage.storage import Storage


@pytest.fixture
def in_memory() -> Iterator[ObjectStorage]:
    yield ObjectStorage(f"memory://{uuid4().hex}")
    object_store._store_at.cache_clear()


def numbers(storage: Storage) -> list[int]:
    return [json.loads(line)["n"] for line in storage.get("timeline.jsonl").splitlines()]


def test_a_folder_has_each_line_at_once(tmp_path: Path) -> None:
    for run in range(2):
        timeline = TimelineFile(LocalStorage(tmp_path))
        timeline.add({"n": 2 * run})
        timeline.add({"n": 2 * run + 1})
    assert numbers(LocalStorage(tmp_path)) == [0, 1, 2, 3]


def test_an_object_store_gets_them_every_few_seconds_and_at_the_end(
    in_memory: ObjectStorage,
) -> None:
    seconds = [100.0]
    for run in range(2):
        timeline = TimelineFile(in_memory, lambda: seconds[-1])
        for n in range(3):
            timeline.add({"n": 10 * run + n})
        assert numbers(in_memory)[-1] == 10 * run, "the first line is put at once"
        seconds.append(seconds[-1] + PUT_SECONDS)
        timeline.add({"n": 10 * run + 3})
        assert numbers(in_memory)[-1] == 10 * run + 3
        timeline.add({"n": 10 * run + 4})
        timeline.flush()
    assert numbers(in_memory) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
