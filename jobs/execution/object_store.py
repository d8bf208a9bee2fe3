"""What a job holds in the object store, reckoned from what its calls say that they left there."""

from __future__ import annotations

from math import inf

from jobs.execution.active_part import ActivePart, Ref
from jobs.execution.calls import OUTPUTS, Call, Output, Stage

BUDGET = 0.5
"""The fraction of the object store that may be held; the rest is for what is being moved."""


class ObjectStoreBudget:
    """Keeps the references of open parts, and counts their bytes."""

    def __init__(self, num_bytes: float = inf) -> None:
        self.budget = BUDGET * num_bytes
        self.held = 0
        self.row_bytes: dict[tuple[Stage, Output], float] = {}
        """The most that a row's output took so far."""

    def keep(self, owner: ActivePart, call: Call, output: Output, ref: Ref, num_bytes: int) -> None:
        """A call left something."""
        key, kind = (call, output), (call.stage, output)
        self.held += num_bytes - owner.stored.get(key, 0)
        owner.refs[key] = ref
        owner.stored[key] = num_bytes
        each = num_bytes / len(call.rows)
        if each > self.row_bytes.get(kind, 0.0):
            self.row_bytes[kind] = each

    def let_go(self, owner: ActivePart, call: Call, output: Output) -> None:
        """Nobody asks for it any more, or it is lost."""
        key = call, output
        owner.refs.pop(key, None)
        self.held -= owner.stored.pop(key, 0)

    def has_room_for(self, rows: int) -> bool:
        """Whether so many rows can be drawn beside what is held."""
        drawn = sum(self.row_bytes.get((Stage.DRAW, out), 0.0) for out in OUTPUTS[Stage.DRAW])
        return self.held + rows * drawn <= self.budget
