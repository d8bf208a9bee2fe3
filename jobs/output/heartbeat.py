"""Finds other drivers of the same output folder, by heartbeats, not locks.

Two drivers on one output are both right: they write the same bytes (DESIGN.md, section 1). They
only do the same work twice, so the second one logs a warning. Nobody waits for a heartbeat, and no
byte of the dataset depends on one: a driver that died and left its file blocks nobody.
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
"""Chosen: a touch of a file every 5 s is nothing to a disk."""
STALE_SECONDS = 60.0
"""A driver that was silent for this long counts as dead. Twelve beats, so that a slow network disk
hides nobody; a mistake costs no more than a missing warning."""


@dataclass(frozen=True, slots=True)
class OtherDriver:
    """Another driver. silent_seconds: the time since its last heartbeat."""

    host: str
    pid: int
    silent_seconds: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, heard of {self.silent_seconds:.0f} s ago"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """others: the drivers that were here before us. now: seconds, by the disk's clock."""

    others: list[OtherDriver]
    now: float


@contextmanager
def heartbeat(folder: Path) -> Iterator[Heartbeat]:
    """Make the output folder, and keep a heartbeat in it while the block runs.

    Raises OutputFailedError for a folder that cannot be made or written to.
    """
    mine = folder / DRIVERS / tag()
    with failing_in(folder):
        _make(mine)
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


def _make(mine: Path) -> None:
    """Make our file; a driver that ends meanwhile may remove the folder between the two steps."""
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
        # The runner raises for a failing disk; here a lost beat only hides us from other drivers.
        with suppress(OSError):
            mine.touch()
