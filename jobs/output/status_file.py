"""Reads and writes the status of an output, and asks the store's own clock how old it is."""

from __future__ import annotations

import time
from contextlib import suppress

from jobs.output.atomic import failing_in, tag, write_whole
from jobs.output.folder import DRIVERS, STATUS, OutputFolder
from jobs.output.status import (
    LOST_SECONDS,
    JobStatus,
    OutputState,
    decode_status,
    encode_status,
    judge,
)


def write_status(folder: OutputFolder, status: JobStatus) -> None:
    """Put status.json in place, in one step. Raises OutputFailedError."""
    with failing_in(folder.path):
        write_whole(folder.path / STATUS, encode_status(status))


def read_state(folder: OutputFolder) -> OutputState | None:
    """The state of an output; None where no job has begun. Raises an error of the output."""
    file = folder.path / STATUS
    with failing_in(folder.path):
        finished = (folder.path / "_SUCCESS").is_file()
        try:
            content, written = file.read_bytes(), file.stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return judge(None, 0.0, finished) if folder.job_file.is_file() else None
    status = decode_status(content, str(file))
    silent = time.time() - written
    if status.state.is_active and not 0 <= silent <= LOST_SECONDS:
        # Before a driver counts as dead, or where two clocks disagree: by the disk's clock.
        silent = _now_of(folder) - written
    return judge(status, max(0.0, silent), finished)


def _now_of(folder: OutputFolder) -> float:
    """The time by the clock of the disk, which a network's disk has of its own; ours, where this
    user may not write there."""
    mine = folder.path / DRIVERS / f"clock.{tag()}"
    with suppress(OSError):
        mine.parent.mkdir(exist_ok=True)
        try:
            mine.touch()
            return mine.stat().st_mtime
        finally:
            mine.unlink(missing_ok=True)
            mine.parent.rmdir()
    return time.time()
