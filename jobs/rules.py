"""The rules by which a job decides about each row."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from jobs.spec.climb import Keep, Ladder, Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of a whole job, fixed before its first part starts.

    `ladder`: what is tried on a row, in order: the first drawing, further drawings, the teacher.
    """

    ladder: Ladder
    student_batch: int
    teacher_batch: int
    through: Literal["latents", "pixels"] = "latents"
    save_student: bool = False
    save_attempts: bool = False
    """Whether a row of the dataset has its attempts and their scores."""
    draws: int = 1
    """Pictures that the first drawing makes of each row: row n of it has places n * draws and on.
    The row has the best scored of them."""
    max_attempts: int = 3
    """Times that a call may fail before the cascade halves it, or fails its only row."""

    @classmethod
    def pair(
        cls,
        *,
        threshold: float,
        strategy: Literal["refine", "regenerate"] = "refine",
        keep: Keep = "teacher",
        **others: Any,
    ) -> Rules:
        """The common ladder: a drawing, and below the threshold the teacher's picture."""
        rungs = Rung(make="draw"), Rung(make=strategy, below=threshold, keep=keep)
        return cls(ladder=rungs, **others)

    @property
    def threshold(self) -> float:
        """Below this score of its first drawing a row is tried again; -inf if no row ever is.

        The second rung's threshold, unless a later one has a higher one.
        """
        return max((rung.below for rung in self.ladder[1:]), default=-inf)
