"""timeline.jsonl: what happened to the pools, a line for each event, over all runs of a job.

A folder gets each line at once. An object cannot be added to: it is put anew with all its lines,
at most every few seconds, so a killed driver may lose the last ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from actors.errors import MissingError, StorageError
from actors.redact import redacted
from jobs.storage.local import LocalStorage
from jobs.storage.storage import Storage

NAME = "timeline.jsonl"
PUT_SECONDS = 10.0
"""Between two puts. A job changes its pools' sizes a few times an hour; at a line of 300 bytes even
10,000 of them are a put of 3 MB."""


class TimelineFile:
    """Adds lines to the timeline of an output."""

    def __init__(self, storage: Storage, now: Callable[[], float] = monotonic) -> None:
        self._storage, self._now = storage, now
        self._lines: bytes | None = None
        """The whole content, once it has been read; of an object store only."""
        self._is_new, self._put_at = False, -PUT_SECONDS

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add an event, with the time of day. Raises StorageError."""
        stamped = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry}
        line = json.dumps(redacted(stamped)).encode() + b"\n"
        if isinstance(self._storage, LocalStorage):
            self._append(self._storage, line)
            return
        if self._lines is None:
            try:
                self._lines = self._storage.get(NAME)
            except MissingError:
                self._lines = b""
        self._lines += line
        self._is_new = True
        if self._now() - self._put_at >= PUT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Put the lines that wait. Raises StorageError."""
        if self._is_new and self._lines is not None:
            # First: a put that fails waits as long for the next one.
            self._put_at = self._now()
            self._storage.put(NAME, self._lines)
            self._is_new = False

    @staticmethod
    def _append(storage: LocalStorage, line: bytes) -> None:
        try:
            with (storage.folder / NAME).open("ab") as file:
                file.write(line)
        except OSError as error:
            raise StorageError(
                storage.url, f"does not take a line of {NAME} ({error.strerror}). Check its disk",
                passing=True,
            ) from error  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        return TimelineFile, (self._storage,)
