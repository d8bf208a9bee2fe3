"""The load of a ladder: how many rows take each rung, and what that is for the pools. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.spec.ladder import Attempt

AGAIN = 0.65
"""Of the rows that took a rung, how many take the next with the same threshold, until that is
measured. Chosen: on 150 captions of the embedded set it was 0.5 at a threshold of 0.25 and 0.7 at
0.30, over four drawings (`benchmarks/ladders.py`)."""

UNKNOWN = 0.3
"""The fraction below a threshold that is a score, until it is measured: the default budget's."""


@dataclass(frozen=True, slots=True)
class RungLoads:
    """`fractions`: by rung, the fraction of all rows that takes it; of the first it is 1.
    `by_teacher`: by rung, whether the teacher makes its picture."""

    fractions: tuple[float, ...]
    by_teacher: tuple[bool, ...]

    @property
    def drawings(self) -> float:
        """Calls of the student's for a row: s (1 + p1 + ...)."""
        return self._sum(by_teacher=False)

    @property
    def refinements(self) -> float:
        """Pictures of the teacher's for a row."""
        return self._sum(by_teacher=True)

    @property
    def to_teacher(self) -> float:
        """The fraction of all rows that the teacher gets, once or more often."""
        found = zip(self.fractions, self.by_teacher, strict=True)
        return min(1.0, max((fraction for fraction, teacher in found if teacher), default=0.0))

    @property
    def pictures_each(self) -> float:
        """Pictures of the teacher's for a row that it gets."""
        return self.refinements / self.to_teacher if self.to_teacher else 1.0

    def _sum(self, by_teacher: bool) -> float:
        found = zip(self.fractions, self.by_teacher, strict=True)
        return sum(fraction for fraction, teacher in found if teacher is by_teacher)


def expected_loads(attempts: Sequence[Attempt], below: Sequence[float | None]) -> RungLoads:
    """The loads before anything is measured.

    below: of each rung after the first, the fraction of the first drawings that scores below its
    threshold; None where it is not known.
    """
    fractions, taken = [1.0], 0
    for quantile in below:
        known = UNKNOWN if quantile is None else quantile
        fractions.append(known * AGAIN**taken if known < 1 else 1.0)
        taken += known > 0
    return RungLoads(tuple(fractions), tuple(attempt.make != "draw" for attempt in attempts))


def measured_loads(
    expected: RungLoads, taken: Sequence[int], known: Sequence[int], weight: float
) -> RungLoads:
    """The loads by what a job's rows did so far, with the expected ones for `weight` rows.

    taken: by rung, rows that took it. known: rows of which that is known, either way.
    """
    fractions = [
        (weight * fraction + took) / (weight + of)
        for fraction, took, of in zip(expected.fractions, taken, known, strict=True)
    ]
    return RungLoads((1.0, *fractions[1:]), expected.by_teacher)
