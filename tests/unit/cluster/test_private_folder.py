"""What a killed process has left goes, and what another one uses stays."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import private_folder as room
from cluster.private_folder import private_folder

ROOT = Path(__file__).parents[3]

OTHER = """
import subprocess, sys
from cluster.private_folder import private_folder

with private_folder() as folder:
    # It outlives its parent, as Ray's agents may, until the test closes the pipe.
    child = subprocess.Popen(["cat"])
    print(folder, child.pid, flush=True)
    child.wait()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A short one: pytest's own are too long for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "gettempdir", lambda: str(place))


@pytest.fixture
def other(place: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=ROOT, env={**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        yield process
        process.kill()


def _folder_and_child_of(process: subprocess.Popen[str]) -> tuple[Path, int]:
    assert process.stdout is not None
    folder, child = process.stdout.readline().split()
    return Path(folder), int(child)


def test_only_the_user_enters_it_and_it_goes() -> None:
    with private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_another_process_keeps_its_own_and_a_killed_ones_goes(
    other: subprocess.Popen[str],
) -> None:
    theirs, child = _folder_and_child_of(other)
    with private_folder():
        assert theirs.exists()
        other.kill()
        other.wait()
    with private_folder():
        assert not theirs.exists()
        os.kill(child, 0)  # it runs still


def test_a_link_to_another_folder_is_not_followed(place: Path) -> None:
    precious = place / "precious"
    precious.mkdir()
    (precious / room.LOCK).touch()
    (place / "bottega-link").symlink_to(precious)
    with private_folder():
        pass
    assert precious.exists()


def test_a_socket_fits_where_the_place_for_temporary_files_has_a_long_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(room, "gettempdir", lambda: str(tmp_path / ("long" * 20)))
    with private_folder() as folder:
        assert len(str(folder)) <= room.LONGEST
