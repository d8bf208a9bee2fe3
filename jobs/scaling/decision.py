"""What a decision about the sizes of the pools goes by, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from jobs.scaling.capacity import Capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """A pool as measured. Counts of actors are without those that are on their way out.

    `row_seconds`: of one row in one actor. `call_rows`: rows of a call. `queued`, `running`: calls
    that no actor has yet, and those that one has.
    """

    size: int
    row_seconds: float
    call_rows: float
    load_seconds: float
    queued: int = 0
    running: int = 0
    minimum: int = 0
    maximum: int = 1_000_000

    @property
    def call_seconds(self) -> float:
        """Of one call."""
        return self.row_seconds * self.call_rows

    def within(self, size: int) -> int:
        """The nearest size that is allowed."""
        return max(self.minimum, min(self.maximum, size))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingInput:
    """All that a decision goes by.

    `rejected`: the fraction of rows. `rows_to_draw`: that no student has finished yet. `waiting`:
    rejected rows that wait for a teacher. `room`: how many more may come to wait before the
    students must pause. `draws`: pictures that are scored of each drawn row. `teachers_free_in`:
    seconds until each teacher has nothing more to do, or has loaded; needed once everything is
    drawn.
    """

    capacity: Capacity
    student: PoolFacts
    oracle: PoolFacts
    teacher: PoolFacts
    rejected: float
    rows_to_draw: float
    waiting: float
    room: float = inf
    draws: int = 1
    teachers_free_in: Sequence[float] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Actors by pool, as they are."""
        pools = {"student": self.student, "oracle": self.oracle, "teacher": self.teacher}
        return {name: pool.size for name, pool in pools.items()}


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """The sizes that there should be. `reason` is empty if they stay."""

    sizes: dict[str, int]
    reason: str = ""


def changes(before: dict[str, int], after: dict[str, int]) -> str:
    moves = (
        f"{name} {before[name]} -> {after[name]}" for name in before if before[name] != after[name]
    )
    return ", ".join(moves)
