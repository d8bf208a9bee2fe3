"""What a killed driver's Ray leaves behind ends, and what others do in its folder does not.

tests/cluster/test_command.py kills a real driver.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.ray_watcher import end_those_left, users_of

WITH_A_LOG = """
import sys
log = open(sys.argv[1], "w")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


@pytest.fixture
def processes(
    folder: Path, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """An agent of Ray, and somebody who reads a log; both have a file of the folder open."""
    with ExitStack() as stack:
        started = []
        for name in ("ray::Agent", "tail"):
            program = tmp_path / name  # a process has its program's name
            program.symlink_to(sys.executable)
            command = [program, "-c", WITH_A_LOG, folder / f"{name}.log"]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            started.append(process)
        yield started[0], started[1]


def test_only_rays_processes_that_use_the_folder_are_ended(
    processes: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]], folder: Path, tmp_path: Path
) -> None:
    agent, reader = processes
    assert users_of(tmp_path / "other") == []
    assert [process.pid for process in users_of(folder)] == [agent.pid]
    end_those_left(folder, grace_seconds=0)
    assert agent.wait() != 0
    assert reader.poll() is None
    assert not folder.exists()
