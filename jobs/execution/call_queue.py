"""Calls that wait for a pool: those of older parts first, and a part's own in turn."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush

from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call


@dataclass(frozen=True, slots=True)
class QueuedCall:
    """A call of a part. `since`: when it began to wait, in seconds on the executor's clock."""

    owner: ActivePart
    call: Call
    since: float


class CallQueue:
    """Older parts go first, so that parts finish and release their pictures."""

    def __init__(self) -> None:
        self._parts: list[int] = []
        """A heap: the numbers of the parts that have a call here."""
        self._calls: dict[int, deque[QueuedCall]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, queued: QueuedCall) -> None:
        """Add a call behind the others of its part."""
        part = queued.owner.part.index
        if part not in self._calls:
            self._calls[part] = deque()
            heappush(self._parts, part)
        self._calls[part].append(queued)
        self._length += 1

    def pop(self) -> QueuedCall:
        """The first call of the oldest part."""
        calls = self._calls[self._parts[0]]
        first = calls.popleft()
        self._length -= 1
        if not calls:
            del self._calls[heappop(self._parts)]
        return first
