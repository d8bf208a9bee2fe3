"""Who else is driving a job into the same output folder: heartbeats, not locks.

Two drivers on one output are both right: they write the same bytes (DESIGN.md, section 1). They
only do the same work twice, so the second one is told. Nothing here is ever waited for, and nothing
of it reaches the dataset: a driver that died without taking its file away blocks nobody.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from jobs.output.atomic import failing_in, owner_of, tag
from jobs.output.folder import DRIVERS

BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
"""A driver that was silent for so long is taken for dead."""


@dataclass(frozen=True, slots=True)
class OtherDriver:
    """Another driver. `silent_seconds`: since its last heartbeat."""

    host: str
    pid: int
    silent_seconds: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, heard of {self.silent_seconds:.0f} s ago"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`others`: the drivers that were there before us. `now`: seconds, by the disk's clock."""

    others: list[OtherDriver]
    now: float


@contextmanager
def heartbeat(folder: Path) -> Iterator[Heartbeat]:
    """Make the output folder, and keep a heartbeat in it while the block runs.

    Raises OutputFailedError for a folder that cannot be made or written to.
    """
    mine = folder / DRIVERS / tag()
    with failing_in(folder):
        _sign(mine)
        # Heartbeats of other hosts are compared with the disk's clock, not with ours.
        now = mine.stat().st_mtime
        others = _others(mine, now)
    ended = Event()
    beating = Thread(target=_beat, args=(mine, ended), name="heartbeat", daemon=True)
    beating.start()
    try:
        yield Heartbeat(others, now)
    finally:
        ended.set()
        beating.join()
        with suppress(OSError):
            mine.unlink(missing_ok=True)
            mine.parent.rmdir()


def _sign(mine: Path) -> None:
    """Another driver that ends now may take the folder away between our two steps."""
    for _ in range(3):
        mine.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            mine.touch()
            return
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(mine.parent))


def _others(mine: Path, now: float) -> list[OtherDriver]:
    found = []
    for file in sorted(mine.parent.iterdir()):
        owner = owner_of(file)
        if file == mine or owner is None:
            continue
        with suppress(FileNotFoundError):
            silent = max(0.0, now - file.stat().st_mtime)
            if owner.is_dead or silent > STALE_SECONDS:
                file.unlink()
            else:
                found.append(OtherDriver(owner.host, owner.pid, silent))
    return found


def _beat(mine: Path, ended: Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        # A disk that fails is the runner's to tell; without a heartbeat we are only not heard of.
        with suppress(OSError):
            mine.touch()
