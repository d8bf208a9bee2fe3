"""Finds other drivers of the same output folder, by heartbeats, not locks.

Two drivers on one output are both right: they write the same bytes (DESIGN.md, section 1). They
only do the same work twice, so the second one logs a warning. Nobody waits for a heartbeat, and no
byte of the dataset depends on one: a driver that died and left its file blocks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from time import time

from actors.errors import StorageError
from jobs.output.failing import failing_in
from jobs.output.folder import DRIVERS, OutputFolder
from jobs.storage.owner import owner_of, tag
from jobs.storage.storage import Storage

BEAT_SECONDS = 20.0
"""Chosen: three small files a minute are nothing to a disk or a store."""
STALE_SECONDS = 120.0
"""A driver that was silent for this long counts as dead. Six beats, so that a slow network disk
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
    """others: the drivers that were here before us. now: seconds, by the storage's clock."""

    others: list[OtherDriver]
    now: float


@contextmanager
def heartbeat(folder: OutputFolder) -> Iterator[Heartbeat]:
    """Make the output folder, and keep a heartbeat in it while the block runs.

    Raises OutputFailedError for a folder that cannot be made or written to.
    """
    storage, mine = folder.storage, f"{DRIVERS}/{tag()}"
    with failing_in(storage):
        storage.create()
        storage.put(mine, b"")
        heard = {entry.path: entry.modified for entry in storage.entries(DRIVERS)}
        # Heartbeats of other hosts are compared with the storage's clock, not with ours.
        now = heard.get(mine, time())
        others = _others(storage, {n: now - beat for n, beat in heard.items() if n != mine})
    ended = Event()
    beating = Thread(target=_beat, args=(storage, mine, ended), name="heartbeat", daemon=True)
    beating.start()
    try:
        yield Heartbeat(others, now)
    finally:
        ended.set()
        beating.join()
        with suppress(StorageError):
            storage.delete([mine])


def _others(storage: Storage, silent: Mapping[str, float]) -> list[OtherDriver]:
    """Those of other drivers, and none of dead ones. silent: seconds since each file's beat."""
    found = []
    for name, seconds in sorted(silent.items()):
        owner = owner_of(name)
        if owner is None:
            continue
        if owner.is_dead or seconds > STALE_SECONDS:
            storage.delete([name])
        else:
            found.append(OtherDriver(owner.host, owner.pid, max(0.0, seconds)))
    return found


def _beat(storage: Storage, mine: str, ended: Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        # The runner raises for a failing disk; here a lost beat only hides us from other drivers.
        with suppress(StorageError):
            storage.put(mine, b"")
