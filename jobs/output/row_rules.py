"""Compares a row of the dataset with the rules by which its job decided about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from actors.errors import SpecError
from jobs.output.job_file import derived_thresholds
from jobs.output.ladder_rules import around


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """The rules of a job, by its job.json.

    threshold: the one that follows from the budget and the scores, whatever job.json says; None if
    none follows. `evaluations`: by kind of row, the network evaluations of the first one that was
    looked at, with its number. The actors count them, and all rows of a kind have the same.
    """

    threshold: float | None
    keep: str
    save_student: bool
    draws: int
    evaluations: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, job: dict[str, Any]) -> RowRules:
        """The rules in a job.json."""
        try:
            threshold: float | None = derived_thresholds(job).highest
        except (SpecError, ValueError):
            threshold = None
        spec = job["identity"]["spec"]
        return cls(
            threshold=threshold,
            keep=spec["keep"],
            save_student=spec["save_student"],
            draws=spec["draws"],
        )

    def unrefinable(self, row: dict[str, Any]) -> bool:
        """Whether the teacher's turn left a row as it was: rejected, and yet without its score."""
        before, ok = row["student_score"], row["status"] == "ok"
        if not ok or before is None or row["teacher_score"] is not None or self.threshold is None:
            return False
        return around(before)[1] < self.threshold

    def broken_by(self, row: dict[str, Any], number: int, may_stay: bool) -> Iterator[str]:
        """The rules that a row breaks, as clauses.

        number: its place in the dataset. may_stay: whether its part has rows, by its record, of
        which the teacher made no picture.
        """
        before, after, source = row["student_score"], row["teacher_score"], row["source"]
        for name in ("student_score", "teacher_score"):
            if row[name] is not None and not isfinite(row[name]):
                yield f"its {name} is {row[name]}, which is no score"
                return
        if row["status"] == "failed":
            if source is not None:
                yield f"it failed, and its source is {source!r}"
            return
        if before is None:
            yield "it has no student_score"
            return
        stayed = self.unrefinable(row)
        if stayed and not may_stay:
            yield f"its score {before:.6g} is below the threshold, and it was not refined"
        # The column has the score's nearest float32; the job compared the score itself.
        refined = after is not None
        if refined and self.threshold is not None and around(before)[0] >= self.threshold:
            yield f"it was refined, and its score {before:.6g} is not below the threshold"
        yield from self._source(before, after, source)
        yield from self._evaluations(row["nfe"], refined or stayed, number)
        if self.save_student and (row["student_image"] is not None) != refined:
            kept = "no student_image" if refined else "a student_image"
            yield f"it was {'' if refined else 'not '}refined, and has {kept}"

    def _source(self, before: float, after: float | None, source: str | None) -> Iterator[str]:
        wanted = {"student"} if after is None else {"teacher"}
        if after is not None and self.keep == "best":
            # Scores that are equal in the column may have differed.
            wanted = {"student"} if before > after else {"teacher"}
            wanted |= {"student"} if before == after else set()
        if source not in wanted:
            scores = f"{before:.6g} and {'none' if after is None else f'{after:.6g}'}"
            yield f"its source is {source!r}, which does not follow from its scores ({scores})"

    def _evaluations(self, nfe: int | None, refined: bool, number: int) -> Iterator[str]:
        if not nfe or nfe < 0:
            yield f"its nfe is {nfe}"
            return
        if not refined and nfe % self.draws:
            yield f"its nfe is {nfe}, which is not the same for each of {self.draws} drawings"
        kind, other = ("refined", "accepted") if refined else ("accepted", "refined")
        usual, first = self.evaluations.setdefault(kind, (nfe, number))
        if nfe != usual:
            yield f"its nfe is {nfe}, and that of row {first}, {kind} too, is {usual}"
        elif other in self.evaluations and (nfe > self.evaluations[other][0]) != refined:
            than, at = self.evaluations[other]
            yield f"its nfe is {nfe}, and that of row {at}, which was {other}, is {than}"
