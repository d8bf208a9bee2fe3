"""Writers that are killed at any moment: what is seen is whole, and a record's part is there."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from jobs.storage import object_store as room
from jobs.storage.storage import Storage
from jobs.storage.storage_at import storage_at
from tests.servers.object_store import ObjectStoreServer

KILLS = int(os.environ.get("BOTTEGA_KILLS", "6"))
"""BOTTEGA_KILLS=200 pytest tests/storage/test_kills.py takes some minutes."""

WRITER = """
import hashlib, json, os, sys, threading
from jobs.storage import object_store as room
from jobs.storage.storage_at import storage_at
room.CHUNK_BYTES = 5 * 2**20        # so that a part is uploaded in pieces
storage = storage_at(sys.argv[1])
storage.create()
print("ready", flush=True)
turn = 0
while True:
    content = os.urandom(64) * (200_000 + 1000 * (turn % 7))
    name = f"data/00000/part-{turn % 5}"
    with storage.writing(name) as file:
        for start in range(0, len(content), 2**20):
            file.write(content[start : start + 2**20])
    record = {"sha256": hashlib.sha256(content).hexdigest(), "part": name}
    storage.put(f"records/{record['sha256']}.json", json.dumps(record).encode())
    turn += 1
"""
"""Records are named after contents here, so that each part that was ever whole is known."""


def kill_writers(place: str, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, place], stdout=subprocess.PIPE, cwd=Path.cwd()
        )
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
        # Not as synchronisation: the moment of a kill is what varies.
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(chance.uniform(0, 1.5))
        writer.kill()
        writer.wait()


def check_whole(storage: Storage) -> int:
    """Every part is one of 64 random bytes, again and again: no part ends early or is mixed."""
    parts = storage.entries("data")
    for entry in parts:
        content = storage.get(entry.path)
        assert content == content[:64] * (len(content) // 64), entry
        assert len(content) % (64 * 1000) == 0, entry
    for entry in storage.entries("records"):
        record = json.loads(storage.get(entry.path))
        assert len(record["sha256"]) == len(sha256().hexdigest())
        assert storage.find(record["part"])
    return len(parts)


def test_kills_leave_no_torn_object(
    in_object_store: str, object_store: ObjectStoreServer, capsys: pytest.CaptureFixture[str]
) -> None:
    room._store_at.cache_clear()
    kill_writers(in_object_store, seed=1)
    assert check_whole(storage_at(in_object_store)) > 0
    client: Any = object_store.client()
    found = client.list_multipart_uploads(Bucket=in_object_store.partition("://")[2])
    dangling = len(found.get("Uploads", []))
    assert dangling <= KILLS, "a kill leaves one upload at most"
    with capsys.disabled():
        print(f"\n{KILLS} kills: {dangling} dangling uploads")


def test_kills_leave_no_torn_file(tmp_path: Path) -> None:
    kill_writers(str(tmp_path / "out"), seed=2)
    storage = storage_at(tmp_path / "out")
    assert check_whole(storage) > 0
    assert len(storage.strays(0.0)) <= KILLS
    storage.delete(storage.strays(0.0))
    assert [p.name for p in (tmp_path / "out").rglob(".*")] == []
