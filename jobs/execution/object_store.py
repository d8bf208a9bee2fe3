"""The bytes that a job holds in the object store, as its calls say that they left them there."""

from __future__ import annotations

from math import inf

from jobs.execution.active_part import ActivePart, Ref
from jobs.execution.calls import Call
from jobs.execution.stages import STAGES, OutputKind, Stage

HELD_FRACTION = 0.5
"""Of the object store. The rest is for objects that Ray moves between nodes, of which it keeps a
copy on each: chosen, as the safe side; with 0.5 nothing was spilled (docs/performance.md)."""


class ObjectStoreBudget:
    """Keeps the references of open parts, and counts their bytes against `limit`."""

    def __init__(self, num_bytes: float = inf) -> None:
        self.limit = 0.0
        self.resize(num_bytes)
        self.held = 0
        self.row_bytes: dict[tuple[Stage, OutputKind], float] = {}
        """The most that a row's output took so far."""

    def resize(self, num_bytes: float) -> None:
        """The object store has so many bytes now: nodes came or went."""
        self.limit = HELD_FRACTION * num_bytes

    def keep(
        self, owner: ActivePart, call: Call, output: OutputKind, ref: Ref, num_bytes: int
    ) -> None:
        """A call left an output."""
        key, kind = (call, output), (call.stage, output)
        self.held += num_bytes - owner.stored.get(key, 0)
        owner.refs[key] = ref
        owner.stored[key] = num_bytes
        each = num_bytes / len(call.rows)
        if each > self.row_bytes.get(kind, 0.0):
            self.row_bytes[kind] = each

    def release(self, owner: ActivePart, call: Call, output: OutputKind) -> None:
        """No call takes an output any more, or it is lost."""
        key = call, output
        owner.refs.pop(key, None)
        self.held -= owner.stored.pop(key, 0)

    def has_room_for(self, rows: int) -> bool:
        """Whether so many rows can be drawn beside what is held."""
        outputs = STAGES[Stage.DRAW].outputs
        drawn = sum(self.row_bytes.get((Stage.DRAW, output), 0.0) for output in outputs)
        return self.held + rows * drawn <= self.limit
