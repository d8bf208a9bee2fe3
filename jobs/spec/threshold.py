"""From a budget or a ladder, and a sample's scores, to the thresholds: arithmetic alone.

A run computes the thresholds once, and whoever reads them back from job.json computes them again:
what can be derived is not believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from actors.errors import SpecError
from jobs.spec.job_spec import Budget, JobSpec
from jobs.spec.ladder import certain_thresholds, thresholds_of
from jobs.spec.quantile import fraction_below, threshold_for


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`rungs`: of each rung after the first. `refine`: the fraction of rows that take a further
    rung, of a budget as nearly as the scores allow; 0 where it is not known."""

    rungs: tuple[float, ...]
    refine: float

    @property
    def highest(self) -> float:
        """A row whose first drawing scores below this takes a further rung."""
        return max(self.rungs, default=-inf)


def certain(spec: JobSpec) -> Thresholds | None:
    """The thresholds that need no sample; None for the others."""
    if spec.ladder is not None:
        rungs = certain_thresholds(spec.attempts)
        if rungs is None:
            return None
        highest = max(rungs, default=-inf)
        return Thresholds(rungs, float(highest == inf))
    budget = spec.budget
    if budget.threshold is not None:
        return Thresholds((budget.threshold,), 0.0)
    if budget.refine in (0, 1):
        return Thresholds((inf if budget.refine else -inf,), budget.refine)
    return None


def thresholds(
    spec: JobSpec,
    scores: Sequence[float],
    *,
    student_nfe: int,
    teacher_nfe: int,
    seconds: Mapping[str, float],
) -> Thresholds:
    """The thresholds by a sample's scores, ascending, of the student's first drawings.

    The other arguments are those of `fraction_to_refine`. Raises SpecError.
    """
    if spec.ladder is not None:
        rungs = thresholds_of(spec.attempts, scores)
    else:
        wanted = fraction_to_refine(
            spec.budget,
            draws=spec.draws,
            student_nfe=student_nfe,
            teacher_nfe=teacher_nfe,
            seconds=seconds,
        )
        rungs = (threshold_for(scores, wanted),)
    return Thresholds(rungs, fraction_below(scores, max(rungs)))


def fraction_to_refine(
    budget: Budget,
    *,
    draws: int,
    student_nfe: int,
    teacher_nfe: int,
    seconds: Mapping[str, float],
) -> float:
    """The fraction to refine that a budget pays for, in 0..1. Raises SpecError.

    student_nfe, teacher_nfe: network evaluations of a row. seconds: actor-seconds a row by stage,
    of scoring a picture; only a budget in seconds needs them.
    """
    if budget.refine is not None:
        return budget.refine
    if budget.nfe is not None:
        return max(0.0, min(1.0, (budget.nfe - student_nfe) / teacher_nfe))
    assert budget.gpu_seconds is not None
    everywhere = seconds["draw"] + draws * seconds["score"]
    if budget.gpu_seconds < everywhere:
        raise SpecError(
            f"budget.gpu_seconds: {budget.gpu_seconds:g} is less than drawing and scoring alone "
            f"take here ({everywhere:.3g} actor-seconds a picture). Raise it."
        )
    refined = seconds["refine"] + seconds["score"]
    if refined <= 0:
        return 1.0  # a stand-in's teacher may take no time
    return min(1.0, (budget.gpu_seconds - everywhere) / refined)
