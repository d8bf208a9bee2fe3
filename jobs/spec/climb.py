"""A row's way up the ladder of attempts: which it takes, and whose picture it has. Pure.

    draw ──> score ──> below the next rung's threshold? ──> that rung's picture ──> score ──> ...

Whoever decides about a row (the cascade) or checks a decision (`bottega verify`) goes by this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

Make = Literal["draw", "refine", "regenerate"]
Keep = Literal["teacher", "best"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """An attempt of the ladder, everything resolved.

    `make`: draw is the student's, with other noise; refine and regenerate are the teacher's.
    `below`: a row takes the rung if the picture that it has scores below this; the first rung is
    taken by all. `keep`: of a teacher's rung, which picture the row then has: the new one, or the
    better scored. Of drawings it is always the better scored.
    """

    make: Make
    below: float = inf
    keep: Keep = "best"

    @property
    def by_teacher(self) -> bool:
        """Whether the teacher makes the picture."""
        return self.make != "draw"

    def replaces(self, score: float, before: float) -> bool:
        """Whether its picture with `score` takes the place of one that scored `before`.

        Of equals a row has its first drawing; but the teacher's picture and not the one before.
        """
        if not self.by_teacher:
            return score > before
        return self.keep == "teacher" or score >= before


Ladder = tuple[Rung, ...]
"""The attempts in order: the student's drawings, then the teacher's pictures."""


@dataclass(slots=True)
class Climb:
    """Where a row stands.

    `taken`: the rungs that it took, by number. `has`: the rung whose picture it has. `drawing`: the
    rung of the student's drawing that it has or had. Both are None before the first score.
    `teacher_score`: of the teacher's picture; of several, of the one that the row has, or else of
    the best.
    """

    taken: tuple[int, ...] = ()
    has: int | None = None
    score: float | None = None
    drawing: int | None = None
    student_score: float | None = None
    teacher_score: float | None = None


def climb(ladder: Ladder, scores: Sequence[float | None]) -> Climb:
    """Where a row stands that has these scores.

    scores: by rung; None where it has none. A rung that a row takes and that makes no picture
    leaves the row as it was.
    """
    row = Climb()
    for number, (rung, score) in enumerate(zip(ladder, scores, strict=True)):
        if number and (row.score is None or row.score >= rung.below):
            continue
        row.taken += (number,)
        if score is None:
            continue
        if row.score is None or rung.replaces(score, row.score):
            row.has, row.score = number, score
        if not rung.by_teacher:
            row.drawing, row.student_score = row.has, row.score
        elif row.teacher_score is None or rung.replaces(score, row.teacher_score):
            row.teacher_score = score
    return row
