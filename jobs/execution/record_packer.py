"""Packs the records of a thousand parts when the last of them is committed, beside the job."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from threading import Thread

from actors.errors import OutputFailedError
from jobs.execution.observers import JobEvent, PartCommitted
from jobs.output.folder import PARTS_PER_FOLDER, OutputFolder

log = logging.getLogger("bottega.parts")


class RecordPacker:
    """An observer of committed parts. there: parts that were there before."""

    def __init__(self, output: OutputFolder, there: Iterable[int] = ()) -> None:
        self._output = output
        self._there = set(there)
        self._counts = Counter(part // PARTS_PER_FOLDER for part in self._there)

    def __call__(self, event: JobEvent) -> None:
        """Count a part, and pack its folder when that is full."""
        if not isinstance(event, PartCommitted) or event.part in self._there:
            return
        self._there.add(event.part)
        folder = event.part // PARTS_PER_FOLDER
        self._counts[folder] += 1
        if self._counts[folder] == PARTS_PER_FOLDER:
            # Reading a thousand small objects takes half a second, in which a driver decides much.
            Thread(target=self._pack, args=(event.part,), name="pack records", daemon=True).start()

    def _pack(self, part: int) -> None:
        try:
            self._output.pack_records([part])
        except OutputFailedError as error:
            log.info("the records are not packed, which costs the next start time only: %s", error)
