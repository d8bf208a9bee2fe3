"""A folder that only this user can enter, for a Ray that starts here: its sockets, its logs, its
token, and what it spills to disk.

Ray's own place, /tmp/ray, may be written by everybody: another user of the machine could rename a
socket in it and listen in its place. This one goes with its process; what a killed process has
left, the next one removes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

PREFIX = "bottega-"
LOCK = "in-use"
"""A file in the folder that its process keeps locked. A number of a process would say less: it
comes again, and means another one in another container that shares the temporary folder."""

LONGEST = 36
"""Bytes of the folder's path, so that a socket's path fits the 103 that macOS has for it (Linux:
107): `/ray/session_<date>_<time>_<microseconds>_<pid>/sockets/plasma_store` is up to 67."""

SHORT_PLACE = "/tmp"
"""Where the user's own place for temporary files has too long a path."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make one, of mode 0700, and remove it at the end."""
    place = Path(gettempdir())
    if len(os.fsencode(place / f"{PREFIX}12345678")) > LONGEST:
        place = Path(SHORT_PLACE)
    _remove_left_ones(place)
    # Ray's processes may write their last lines while it is removed.
    with TemporaryDirectory(prefix=PREFIX, dir=place, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        starting = folder / f"{LOCK}.new"
        # Closed when another program is started, so no child keeps the lock.
        with starting.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Under its name only when it is locked: nobody sees it free before.
            starting.rename(folder / LOCK)
            yield folder


def _remove_left_ones(place: Path) -> None:
    """Remove those of this user's that no process has locked."""
    for folder in place.glob(f"{PREFIX}*"):
        file = folder / LOCK
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with file.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use, of another kind, or just removed by somebody else
            continue
