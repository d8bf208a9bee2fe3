"""Whole files, whose temporary ones are whose, and drivers that hear of each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from actors.errors import OutputFailedError
from jobs.output import heartbeat as drivers
from jobs.output.atomic import (
    STRAY_SECONDS,
    failing_in,
    is_stray,
    owner_of,
    tag,
    temporary_files,
    write_first,
    write_whole,
)
from jobs.output.folder import OutputFolder
from jobs.output.heartbeat import heartbeat


def dead_tag() -> str:
    """The tag of a process of this host that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host, _, chance = tag().rsplit(".", 2)
    return f"{host}.{ended.pid}.{chance}"


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    assert write_first(tmp_path / "f", b"one")
    assert not write_first(tmp_path / "f", b"two")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"one")]
    write_whole(tmp_path / "f", b"three")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"three")]


def test_a_file_system_without_links_still_gets_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", none)
    assert write_first(tmp_path / "f", b"one")
    assert (tmp_path / "f").read_bytes() == b"one"


def test_temporary_files_are_swept_when_their_writer_is_gone_and_only_then(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    for place in ("data", "records"):
        (tmp_path / place).mkdir()
    dead = tmp_path / f"data/.part-00000000.parquet.{dead_tag()}"
    ours = tmp_path / f"records/.part-00000001.json.{tag()}"
    elsewhere = tmp_path / "data/.part-00000002.parquet.other-host.1.0123abcd"
    old = tmp_path / "data/.part-00000003.parquet.other-host.1.0123abcd"
    others = tmp_path / "data/.gitkeep"
    for file in (dead, ours, elsewhere, old, others):
        file.touch()
    now = ours.stat().st_mtime
    os.utime(old, (now, now - STRAY_SECONDS - 1))
    assert temporary_files(tmp_path) == sorted([dead, ours, elsewhere, old])
    assert [is_stray(file, now) for file in (dead, ours, elsewhere, old)] == [
        *(True, False, False, True),
    ]
    folder.sweep(now)
    assert temporary_files(tmp_path) == sorted([ours, elsewhere])
    assert others.exists()


def test_a_host_may_be_called_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gpu 1.example/ü")
    owner = owner_of(Path(f".part-00000001.json.{tag()}"))
    assert owner is not None
    assert owner.host == "gpu-1-example--"
    assert owner.pid == os.getpid()
    assert not owner.is_dead


@pytest.mark.parametrize(
    ("number", "said"),
    [(28, "has no room left"), (2, "is gone"), (13, "cannot be written to"), (5, "does not work")],
)
def test_what_a_disk_says_names_the_folder_and_the_next_step(number: int, said: str) -> None:
    sentence = rf"'/out' {said}.*run the same command again"
    with pytest.raises(OutputFailedError, match=sentence), failing_in(Path("/out")):
        raise OSError(number, os.strerror(number))


def test_a_driver_hears_of_another_and_not_of_a_dead_or_silent_one(tmp_path: Path) -> None:
    with heartbeat(tmp_path) as alone:
        assert alone.others == []
        dead = tmp_path / ".drivers" / dead_tag()
        silent = tmp_path / ".drivers/other-host.1.0123abcd"
        live = tmp_path / ".drivers/other-host.2.0123abcd"
        for file in (dead, silent, live):
            file.touch()
        os.utime(silent, (0, live.stat().st_mtime - drivers.STALE_SECONDS - 5))
        with heartbeat(tmp_path) as second:
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
    beaten = Event()
    touch = Path.touch

    def heard(file: Path) -> None:
        touch(file)
        if file.stat().st_mtime > 1:
            beaten.set()

    with heartbeat(tmp_path / "out"):
        (mine,) = (tmp_path / "out/.drivers").iterdir()
        os.utime(mine, (0, 0))
        monkeypatch.setattr(Path, "touch", heard)
        assert beaten.wait(timeout=30)
        (tmp_path / "out").rename(tmp_path / "gone")


def test_a_driver_that_ends_does_not_trip_one_that_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the empty folder of heartbeats away, just after the other has made it."""
    touch, tripped = Path.touch, list[Path]()

    def trip(file: Path) -> None:
        if not tripped:
            tripped.append(file)
            file.parent.rmdir()
        touch(file)

    monkeypatch.setattr(Path, "touch", trip)
    with heartbeat(tmp_path / "out"):
        assert tripped
        assert tripped[0].is_file()


def test_a_folder_with_a_heartbeat_only_is_still_new(tmp_path: Path) -> None:
    (tmp_path / ".drivers").mkdir()
    OutputFolder(tmp_path).claim()
