"""Compares a row of a job with a ladder with the rules by which its job decided about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, isnan
from typing import Any

import numpy as np

from actors.errors import SpecError
from jobs.output.job_file import derived_thresholds
from jobs.spec.climb import Ladder
from jobs.spec.job_spec import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRules:
    """The rules of a job with a ladder, by its job.json.

    ladder: with the thresholds that follow from the job's scores; None if none follow.
    `evaluations`: by the rungs that a row took, its network evaluations, with the first such row.
    """

    num_rungs: int
    ladder: Ladder | None
    save_student: bool
    evaluations: dict[tuple[int, ...], tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, job: dict[str, Any]) -> LadderRules:
        """The rules in a job.json."""
        spec = JobSpec.model_validate(job["spec"])
        attempts = spec.attempts
        ladder: Ladder | None = None
        try:
            below = (inf, *derived_thresholds(job).rungs)
        except (SpecError, ValueError):
            pass
        else:
            ladder = tuple(one.rung(at) for one, at in zip(attempts, below, strict=True))
        return cls(num_rungs=len(attempts), ladder=ladder, save_student=spec.save_student)

    def unrefinable(self, row: dict[str, Any]) -> bool:
        """Whether the teacher was to make a picture of a row, and made none."""
        scores = row["rung_scores"]
        if row["status"] != "ok" or row["teacher_score"] is not None or self.ladder is None:
            return False
        by_teacher = [rung.by_teacher for rung in self.ladder]
        return len(scores) == len(by_teacher) and any(
            of_teacher and score is not None
            for of_teacher, score in zip(by_teacher, scores, strict=True)
        )

    def broken_by(self, row: dict[str, Any], number: int, may_stay: bool) -> Iterator[str]:
        """The rules that a row breaks, as clauses; the arguments are those of `RowRules`."""
        scores, source = row["rung_scores"], row["source"]
        if scores is None or len(scores) != self.num_rungs:
            yield f"its rung_scores are {scores}, and the ladder has {self.num_rungs} rungs"
            return
        taken = tuple(n for n, score in enumerate(scores) if score is not None)
        if row["attempts"] != len(taken):
            yield f"its attempts are {row['attempts']}, and it has {len(taken)} scores"
        if row["status"] == "failed":
            if source is not None:
                yield f"it failed, and its source is {source!r}"
            return
        if not taken or not isfinite(scores[0]):
            yield "it has no score of its first drawing"
            return
        if self.unrefinable(row) and not may_stay:
            yield "the teacher made no picture of it, and its record counts none such"
        if self.ladder is not None:
            ends = set(_ends(self.ladder, scores))
            said = (source, row["student_score"], row["teacher_score"])
            if not ends:
                yield f"its rung_scores {scores} do not follow from the ladder's thresholds"
            elif said not in ends:
                yield f"its source and scores are {said}, which do not follow from its rung_scores"
        yield from self._evaluations(row["nfe"], taken, number)
        refined = row["teacher_score"] is not None
        if self.save_student and (row["student_image"] is not None) != refined:
            kept = "no student_image" if refined else "a student_image"
            yield f"it was {'' if refined else 'not '}refined, and has {kept}"

    def _evaluations(self, nfe: int | None, taken: tuple[int, ...], number: int) -> Iterator[str]:
        if not nfe or nfe < 0:
            yield f"its nfe is {nfe}"
            return
        usual, first = self.evaluations.setdefault(taken, (nfe, number))
        if nfe != usual:
            yield f"its nfe is {nfe}, and that of row {first}, with the same attempts, is {usual}"
        fewer, other = self.evaluations.get(taken[:-1], (0, 0))
        if nfe <= fewer:
            yield f"its nfe is {nfe}, and that of row {other}, with fewer attempts, is {fewer}"


End = tuple[str, float, float | None]
"""A row's source, its student_score and its teacher_score."""


def _ends(
    ladder: Ladder,
    scores: Sequence[float | None],
    number: int = 0,
    has: tuple[float, bool] = (-inf, False),
    student: float = -inf,
    teacher: float | None = None,
) -> Iterator[End]:
    """How a row with these scores may have ended: mostly in one way, and in none that is wrong.

    The column has each score's nearest float32, and the job compared the scores themselves: where
    two are equal in the column, either may have been higher. has: the score of the row's picture,
    and whether the teacher's.
    """
    if number == len(ladder):
        yield "teacher" if has[1] else "student", student, teacher
        return
    rung, score = ladder[number], scores[number]
    if number:
        low, high = around(has[0])
        if score is None:
            if high >= rung.below:
                yield from _ends(ladder, scores, number + 1, has, student, teacher)
            return
        if low >= rung.below:
            return
    if score is None:
        return
    if isnan(score):
        yield from _ends(ladder, scores, number + 1, has, student, teacher)
        return
    for keeps in {rung.replaces(score, has[0]), score != has[0] and rung.replaces(score, has[0])}:
        after = (score, rung.by_teacher) if keeps else has
        if not rung.by_teacher:
            yield from _ends(ladder, scores, number + 1, after, after[0], teacher)
            continue
        kept = teacher is None or rung.replaces(score, teacher)
        yield from _ends(ladder, scores, number + 1, after, student, score if kept else teacher)


def around(score: float) -> tuple[float, float]:
    """The lowest and the highest number whose nearest float32 is about this one."""
    value = np.float32(score)
    return float(np.nextafter(value, np.float32(-inf))), float(np.nextafter(value, np.float32(inf)))
