"""Drivers of one output that hear of each other."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest

from jobs.output import heartbeat as drivers
from jobs.output.folder import OutputFolder
from jobs.output.heartbeat import heartbeat
from jobs.storage.local import LocalStorage
from tests.storage.tags import dead_tag


def test_a_driver_hears_of_another_and_not_of_a_dead_or_silent_one(tmp_path: Path) -> None:
    with heartbeat(OutputFolder(tmp_path)) as alone:
        assert alone.others == []
        dead = tmp_path / ".drivers" / dead_tag()
        silent = tmp_path / ".drivers/other-host.1.0123abcd"
        live = tmp_path / ".drivers/other-host.2.0123abcd"
        for file in (dead, silent, live):
            file.touch()
        os.utime(silent, (0, live.stat().st_mtime - drivers.STALE_SECONDS - 5))
        with heartbeat(OutputFolder(tmp_path)) as second:
            found = sorted((other.host, other.pid) for other in second.others)
            assert ("other-host", 2) in found
            assert os.getpid() in {pid for _, pid in found}
            assert len(found) == 2
        assert not dead.exists()
        assert not silent.exists()
        assert live.exists()
        live.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_heartbeat_goes_on_and_outlives_a_folder_that_vanishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "BEAT_SECONDS", 0.001)
    beaten, folder = Event(), OutputFolder(tmp_path / "out")
    put = LocalStorage.put

    def heard(storage: LocalStorage, path: str, content: bytes) -> None:
        put(storage, path, content)
        beaten.set()

    with heartbeat(folder):
        monkeypatch.setattr(LocalStorage, "put", heard)
        assert beaten.wait(timeout=30)
        (tmp_path / "out").rename(tmp_path / "gone")
    assert not (tmp_path / "out").exists()


def test_a_driver_that_ends_does_not_trip_one_that_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the empty folder of heartbeats away, just after the other has made it."""
    make, tripped = LocalStorage._make_folders, list[Path]()

    def trip(storage: LocalStorage, folder: Path) -> None:
        make(storage, folder)
        if not tripped and folder.name == ".drivers":
            tripped.append(folder)
            folder.rmdir()

    monkeypatch.setattr(LocalStorage, "_make_folders", trip)
    with heartbeat(OutputFolder(tmp_path / "out")):
        assert tripped
        assert len(list(tripped[0].iterdir())) == 1


def test_a_folder_with_a_heartbeat_only_is_still_new(tmp_path: Path) -> None:
    (tmp_path / ".drivers").mkdir()
    (tmp_path / ".drivers" / f"host.1.{'0' * 8}").touch()
    OutputFolder(tmp_path).claim()
