"""Reads and writes the status of an output, and asks the store's own clock how old it is."""

from __future__ import annotations

import time
from contextlib import suppress

from actors.errors import MissingError, StorageError
from jobs.output.folder import STATUS
from jobs.output.status import (
    LOST_SECONDS,
    JobStatus,
    OutputState,
    decode_status,
    encode_status,
    judge,
)
from jobs.storage.owner import tag
from jobs.storage.storage import Storage


def write_status(storage: Storage, status: JobStatus) -> None:
    """Put status.json in place, whole. Raises StorageError."""
    storage.put(STATUS, encode_status(status))


def read_state(storage: Storage) -> OutputState | None:
    """The state of an output; None where no job has begun. Raises StorageError or OutputError."""
    entry = storage.find(STATUS)
    finished = storage.find("_SUCCESS") is not None
    try:
        content = storage.get(STATUS) if entry else None
    except MissingError:
        content = None
    if entry is None or content is None:
        return judge(None, 0.0, finished) if storage.find("job.json") else None
    status = decode_status(content, storage.name_of(STATUS))
    silent = time.time() - entry.modified
    if status.state.is_active and not 0 <= silent <= LOST_SECONDS:
        # Before a driver counts as dead, or where two clocks disagree: by the store's clock.
        silent = _now_of(storage) - entry.modified
    return judge(status, max(0.0, silent), finished)


def _now_of(storage: Storage) -> float:
    """The time by the clock of the store; ours, where this user may not write there."""
    # A temporary file's name: it is no driver, and goes if this process is killed here.
    mine = f".clock.{tag()}"
    with suppress(StorageError):
        storage.put(mine, b"")
        entry = storage.find(mine)
        storage.delete([mine])
        if entry is not None:
            return entry.modified
    return time.time()
