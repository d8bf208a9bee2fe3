"""The state of each row of a part, as its cascade knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Literal

from jobs.spec.climb import Climb


class State(StrEnum):
    """Where a row stands."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    KEPT = "kept"
    """The row stays as it is in the part on disk: a retry draws the other rows."""


Source = Literal["student", "teacher"]
"""Whose picture a row has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the part; the committed columns come from here. `at`: where it is on the ladder."""

    state: State
    student_score: float | None
    teacher_score: float | None
    source: Source | None
    error: str | None
    at: Climb


def best_draws(scores: Sequence[float], draws: int) -> list[int]:
    """For each row of a SCORE_DRAWN, which of its drawings scored best; the first of equals.

    A score that is no number (nan) is best only where there is no other.
    """
    valued = [score if isfinite(score) else -inf for score in scores]
    return [
        max(range(draws), key=valued[first : first + draws].__getitem__)
        for first in range(0, len(scores), draws)
    ]
