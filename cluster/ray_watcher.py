"""Ends what a killed driver's own Ray leaves behind, and removes the folder of that Ray.

Ray's actors, raylet and GCS end with their driver, whatever ended it. Its two agents were there
after 60 s: they look for their raylet once in a while. So a small process waits for the end of the
driver, which closes a pipe however it comes. After an orderly end there is nothing left to do.

    python -P cluster/ray_watcher.py FOLDER < the pipe
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

OF_RAY = ("ray", "gcs_server")
"""How the names of Ray's processes begin: `raylet`, `ray::DashboardAgent`. A program with which
somebody reads a log file in the folder is none of them."""

GRACE_SECONDS = 5.0
"""For Ray's processes to end by themselves. Measured: actors are gone after 4 s."""


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """If this process ends in here, what a Ray in `folder` left behind ends some seconds later.

    The watcher is in a session of its own: a Ctrl-C in the terminal does not reach it.
    """
    command = [sys.executable, "-P", __file__, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, cwd="/",
    ) as watcher:  # fmt: skip
        try:
            yield
        finally:
            watcher.kill()  # the folder's owner ends its Ray itself


def users_of(folder: Path) -> list[psutil.Process]:
    """Ray's processes that have a file of the folder open. Their command lines do not name it."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if not (process.info["name"] or "").startswith(OF_RAY):
                continue
            if any(Path(file.path).is_relative_to(folder) for file in process.open_files()):
                found.append(process)
        except psutil.Error:  # it just ended, or is somebody else's
            continue
    return found


def end_those_left(folder: Path, grace_seconds: float = GRACE_SECONDS) -> None:
    """Wait until nobody uses the folder, kill those who still do after a while, and remove it."""
    psutil.wait_procs(users_of(folder), timeout=grace_seconds)
    for process in users_of(folder):
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    end_those_left(Path(sys.argv[1]))
