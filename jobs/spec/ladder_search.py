"""The search for a ladder: from a sample, of which every attempt was made, to the ladders that have
the best pictures at what they cost. Pure.

What a ladder would have done with a sampled row follows from the row's scores, by the rule of
`jobs.spec.climb`, here for all rows at once. A ladder is chosen on one half of the rows and judged
on the other: the best of thousands on the rows that chose it is better there than elsewhere.

One thing is not as it would be: a refinement starts from a row's first drawing, and in a job from
its best. On the embedded set that made no difference (docs/ladder.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, product
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.spec.job_spec import Budget, JobSpec
from jobs.spec.ladder import (
    SHORT,
    LadderRung,
    Refine,
    Regenerate,
    attempts_of,
    thresholds_of,
)
from jobs.spec.quantile import threshold_for
from jobs.spec.sample import Z95
from jobs.spec.search import UNITS, Unit

Floats = NDArray[np.float64]
Way = Refine | Regenerate
"""One way of the teacher's to make a picture."""

QUANTILES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
"""Thresholds that are tried. Chosen: on the embedded set neighbours differ by less than 1,600 rows
can show, and below half of the student's pictures there are few that a teacher mends."""

DRAWINGS = 4
"""Of a row, where the job says nothing else: on the embedded set more helped nobody."""

STRONG, STRONG_STEPS, ANEW_STEPS = 0.8, 0.32, 0.48
"""What is tried beside the job's own refinement: the strength, and steps as fractions of the
teacher's own. On the embedded set 8 and 12 of 25 steps were the best of those tried."""

TIMES_STUDENT = (1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""The budgets of the table, as multiples of one drawing by the student. Chosen: from a quarter of
the rows drawn again to most of them refined."""

LEAST_ROWS = 16
"""Of a sample: with fewer in a half, an interval says nothing."""


@dataclass(frozen=True, slots=True)
class Tried:
    """The attempts of a search: so many drawings, and the teacher's ways."""

    drawings: int
    ways: tuple[Way, ...]

    @property
    def ladder(self) -> tuple[LadderRung, ...]:
        """A ladder on which every attempt can be made of every row, in this order."""
        first = LadderRung(draw=self.drawings, until=1.0 if self.drawings > 1 else None)
        return (first, *(_rung(way, 1.0, "teacher") for way in self.ways))


def tried_for(spec: JobSpec) -> Tried:
    """What is tried for a job: the attempts of its ladder; of a job without one its drawings and
    its refinement, at least DRAWINGS, a stronger refinement, and a drawing anew."""
    if spec.ladder is not None:
        there = [rung.refine or rung.regenerate for rung in spec.ladder]
        drawings = sum(rung.draw or 0 for rung in spec.ladder)
        return Tried(drawings, tuple(dict.fromkeys(way for way in there if way is not None)))
    steps = spec.models.teacher.steps
    anew = Regenerate(steps=max(1, round(ANEW_STEPS * steps)))
    ways: list[Way] = [Regenerate(steps=spec.teacher_steps or steps), anew]
    if spec.strategy == "refine":
        back = spec.rollback.model_dump(exclude_none=True) if spec.rollback else {}
        strong = Refine(strength=STRONG, steps=max(1, round(STRONG_STEPS * steps)))
        ways = [Refine(**back, steps=spec.teacher_steps), strong, anew]
    return Tried(max(DRAWINGS, spec.draws), tuple(dict.fromkeys(ways)))


def every_attempt(spec: JobSpec) -> JobSpec:
    """The job with the ladder on which every attempt of its search can be made."""
    return with_ladder(spec, tried_for(spec).ladder)


def with_ladder(spec: JobSpec, ladder: tuple[LadderRung, ...]) -> JobSpec:
    """The job with this ladder in place of what it says, in whichever way."""
    fields = JobSpec.model_fields
    unsaid = {name: fields[name].get_default(call_default_factory=True) for name in SHORT}
    return spec.model_copy(update={**unsaid, "search": None, "ladder": ladder})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a job's search is to find: the best ladder whose pictures cost at most `budget`.

    `judge`: the column of the extra score by which it is chosen; None for the deciding score.
    `fields`: of the job file, all on which the choice depends, as JSON has them.
    """

    unit: Unit
    budget: float
    judge: str | None
    fields: dict[str, Any]

    def __str__(self) -> str:
        by = f", by the mean of {self.judge}" if self.judge else ""
        return f"{self.budget:g} {UNITS[self.unit]} a picture{by}"


def paid_by(budget: Budget) -> tuple[Unit, float] | None:
    """What a picture may cost; None for a budget that says a fraction or a threshold."""
    if budget.nfe is not None:
        return "nfe", budget.nfe
    return None if budget.gpu_seconds is None else ("gpu_seconds", budget.gpu_seconds)


def asked_by(spec: JobSpec) -> Asked | None:
    """The search that a job file asks for; None for one that asks for none."""
    paid = paid_by(spec.budget)
    if spec.search is None or paid is None:
        return None
    said = spec.model_dump(mode="json", include=set(SHORT) - {"keep"}, exclude_none=True)
    return Asked(*paid, spec.search.judge, {**said, "judge": spec.search.judge})


@dataclass(frozen=True, slots=True)
class SampledAttempts:
    """A sample's rows with all that was tried on them.

    `costs`: of an attempt, in the unit of the budgets; (attempts,). `scores`: of the oracle's, nan
    where there is no picture; (rows, attempts). `merits`: of the pictures, for the choice; the
    scores, or what another judge says; (rows, attempts). Attempts are the drawings, and then the
    ways.
    """

    tried: Tried
    costs: tuple[float, ...]
    scores: Floats
    merits: Floats

    def rows(self, which: slice | NDArray[np.bool_]) -> SampledAttempts:
        """Some of the rows."""
        return replace(self, scores=self.scores[which], merits=self.merits[which])

    @property
    def drawn(self) -> SampledAttempts:
        """The rows that have a first drawing: the others fail, and take no rung. And of each
        picture a merit: nobody can say of the others which picture is the better one."""
        judged = np.isfinite(self.merits) | ~np.isfinite(self.scores)
        return self.rows(np.isfinite(self.scores[:, 0]) & judged.all(axis=1))

    @property
    def chose_and_judged(self) -> tuple[int, int]:
        """Of `best_ladders`: rows that chose the ladders, and rows that judged them."""
        return (len(self.scores) + 1) // 2, len(self.scores) // 2

    @property
    def first_scores(self) -> list[float]:
        """Of the first drawings, ascending."""
        return [float(score) for score in np.sort(self.scores[:, 0])]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ladder, and which attempt of the sample each of its rungs is."""

    ladder: tuple[LadderRung, ...]
    attempts: tuple[int, ...]


def candidates(tried: Tried, quantiles: Sequence[float] = QUANTILES) -> Iterator[Candidate]:
    """The ladders of these attempts: up to all drawings; then no teacher, one of its ways, or a
    refinement and, of what still scores below a lower quantile, a drawing anew."""
    first = tried.drawings
    numbers = {way: first + number for number, way in enumerate(tried.ways)}
    descending = [pair[::-1] for pair in combinations_with_replacement(sorted(quantiles), 2)]
    teachers: list[tuple[LadderRung, ...]] = [()]
    for way, below in product(tried.ways, quantiles):
        teachers += [(_rung(way, below, keep),) for keep in ("teacher", "best")]
    refinements = [way for way in tried.ways if isinstance(way, Refine)]
    anew = [way for way in tried.ways if isinstance(way, Regenerate)]
    for refine, again, (below, lower) in product(refinements, anew, descending):
        teachers.append((_rung(refine, below, "teacher"), _rung(again, lower, "best")))
    for drawings, teacher in product(range(1, first + 1), teachers):
        ways = [rung.refine or rung.regenerate for rung in teacher]
        attempts = (*range(drawings), *(numbers[way] for way in ways if way is not None))
        for until in quantiles if drawings > 1 else (None,):
            yield Candidate((LadderRung(draw=drawings, until=until), *teacher), attempts)


def _rung(way: Way, below: float, keep: str) -> LadderRung:
    made = "refine" if isinstance(way, Refine) else "regenerate"
    return LadderRung.model_validate({made: way, "below": below, "keep": keep})


def outcome(
    sample: SampledAttempts, candidate: Candidate, thresholds: Sequence[float]
) -> tuple[Floats, Floats]:
    """What a ladder makes of each row: what it costs, and the merit of its picture.

    sample: rows that have a first drawing. thresholds: of each rung after the first.
    """
    rungs = [attempt.rung(0.0) for attempt in attempts_of(candidate.ladder)[1:]]
    first, *others = candidate.attempts
    score, merit = sample.scores[:, first].copy(), sample.merits[:, first].copy()
    spent = np.full(len(score), float(sample.costs[first]))
    for rung, attempt, below in zip(rungs, others, thresholds, strict=True):
        takes, new = score < below, sample.scores[:, attempt]
        spent += takes * sample.costs[attempt]
        better = new >= score if rung.by_teacher else new > score
        if rung.by_teacher and rung.keep == "teacher":
            better = np.isfinite(new)
        has = takes & better
        score = np.where(has, new, score)
        merit = np.where(has, sample.merits[:, attempt], merit)
    return spent, merit


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval, of rows that chose nothing."""

    mean: float
    low: float
    high: float

    def __format__(self, sign: str) -> str:
        """For people; `sign` may be a plus."""
        return f"{self.mean:{sign}.3g} ({self.low:{sign}.3g} to {self.high:{sign}.3g})"

    def __str__(self) -> str:
        return f"{self}"


def estimate(values: Floats) -> Estimate:
    """By the normal approximation."""
    mean = float(values.mean())
    half = Z95 * float(values.std(ddof=1)) / sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


@dataclass(frozen=True, slots=True)
class BestLadder:
    """The best ladder within a budget.

    `cost`: the mean of a picture, in the budget's unit; `merit`: of the pictures; `gain`: the same,
    less the student's single drawing of the same rows. All of them of the rows that did not choose
    it.
    """

    budget: float
    ladder: tuple[LadderRung, ...]
    cost: Estimate
    merit: Estimate
    gain: Estimate


def best_ladders(sample: SampledAttempts, budgets: Sequence[float]) -> list[BestLadder]:
    """The best ladder within each budget, ascending; of what a picture costs on average.

    Chosen on every other row, with thresholds from those rows, and judged on the rest. Of equals
    the cheaper. Raises ValueError for a sample of fewer than LEAST_ROWS rows.
    """
    sample = sample.drawn
    if len(sample.scores) < LEAST_ROWS:
        raise ValueError(f"{len(sample.scores)} rows are too few to choose by, and to judge by")
    choosing, judging = sample.rows(slice(0, None, 2)), sample.rows(slice(1, None, 2))
    first = choosing.first_scores
    tried = []
    for candidate in candidates(sample.tried):
        thresholds = thresholds_of(attempts_of(candidate.ladder), first)
        spent, merit = outcome(choosing, candidate, thresholds)
        tried.append((float(merit.mean()), -float(spent.mean()), candidate, thresholds))
    found = []
    for budget in sorted(set(budgets)):
        within = [one for one in tried if -one[1] <= budget]
        if not within:
            continue
        _, _, candidate, thresholds = max(within, key=lambda one: one[:2])
        spent, merit = outcome(judging, candidate, thresholds)
        found.append(
            BestLadder(
                budget=budget,
                ladder=candidate.ladder,
                cost=estimate(spent),
                merit=estimate(merit),
                gain=estimate(merit - judging.merits[:, 0]),
            )
        )
    return found


def highest_refined(scores: Sequence[float]) -> float:
    """The score below which a row needs the teacher's attempts: no candidate asks for more rows.

    scores: of the sample's first drawings, in the sample's order. A row whose first drawing passes
    the highest threshold, by the sample's scores or by those of the half that chooses, gets no
    teacher on any ladder.
    """
    choosing = sorted(scores[::2])
    most = max(QUANTILES)
    return max(threshold_for(sorted(scores), most), threshold_for(choosing, most))


def default_budgets(drawing: float) -> tuple[float, ...]:
    """The budgets of the table. drawing: what one by the student costs."""
    return tuple(times * drawing for times in TIMES_STUDENT)
