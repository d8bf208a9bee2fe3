"""The input of a decision about the pools' sizes, and the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from jobs.scaling.capacity import Capacity

NO_LIMIT = 1_000_000
"""The most actors of a pool where the job file sets no limit: more than any cluster has GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """A pool as measured. Actors on their way out do not count.

    `row_seconds`: of one row in one actor. `call_rows`: rows of a call. `queued`: calls that wait
    for an actor. `running`: calls that actors have.
    """

    size: int
    row_seconds: float
    call_rows: float
    load_seconds: float
    queued: int = 0
    running: int = 0
    minimum: int = 0
    maximum: int = NO_LIMIT

    @property
    def call_seconds(self) -> float:
        """Of one call."""
        return self.row_seconds * self.call_rows

    def within(self, size: int) -> int:
        """The nearest size that the job file allows."""
        return max(self.minimum, min(self.maximum, size))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingInput:
    """A decision depends on this and nothing else.

    `rejected`: the fraction of rows, as it is now. `rejected_rest`: of all `rows_to_draw`; None
    where it is the same. `rows_to_draw`: rows that no student has finished yet. `waiting`: rejected
    rows that wait for a teacher. `unbatched`: rejected rows whose batch is not full yet, so that
    they come to the teachers with later ones. `room`: how many more rows may wait before the
    students must pause. `draws`: pictures that the oracle scores of each drawn row.
    `judged_soon`: some of the drawn rows have no score yet. `drawn_again`: rows may be drawn more
    than once, when they have a score. `teachers_free_in`: seconds until each
    teacher is idle, or has loaded. `teachers_next_in`: until each has done its present call, or has
    loaded; the calls that it has besides are among those that wait. `students_free_in`: until each
    student has loaded; less than 0 is how long it has been at its present call. `early_parts`:
    parts should be finished early. `rejected_sd`: the standard deviation of the number of rows that
    will be rejected.
    """

    capacity: Capacity
    student: PoolFacts
    oracle: PoolFacts
    teacher: PoolFacts
    rejected: float
    rows_to_draw: float
    waiting: float
    unbatched: float = 0.0
    room: float = inf
    draws: float = 1
    rejected_sd: float = 0.0
    teachers_free_in: Sequence[float] = ()
    teachers_next_in: Sequence[float] = ()
    students_free_in: Sequence[float] = ()
    judged_soon: bool = False
    drawn_again: bool = False
    rejected_rest: float | None = None
    early_parts: bool = False

    @property
    def rest(self) -> float:
        """The fraction of all rows that are still to be drawn."""
        return self.rejected if self.rejected_rest is None else self.rejected_rest

    @property
    def last_draws(self) -> bool:
        """Whether the students have all that they will draw, or it is done: who is idle, stays so.

        Of rows that may be drawn again nobody knows that before they have their scores. On a
        cluster that grows nobody waits for a device of theirs.
        """
        more = self.drawn_again or self.capacity.elastic
        under_way = 0.0 if more else self.student.running * self.student.call_rows
        # A millionth of a row: for what adding and multiplying rounds away.
        return self.rows_to_draw <= under_way + 1e-6

    @property
    def sizes(self) -> dict[str, int]:
        """Actors by pool, as they are."""
        pools = {"student": self.student, "oracle": self.oracle, "teacher": self.teacher}
        return {name: pool.size for name, pool in pools.items()}


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """The sizes from now on. `reason` is empty if they stay."""

    sizes: dict[str, int]
    reason: str = ""


def changes(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """The sizes that change, for people: `student 2 -> 1, teacher 6 -> 7`."""
    moves = (
        f"{name} {before[name]} -> {after[name]}" for name in before if before[name] != after[name]
    )
    return ", ".join(moves)
