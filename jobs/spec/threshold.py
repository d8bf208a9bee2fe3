"""From a budget and a sample's scores to the threshold: arithmetic alone.

A run computes the threshold once, and whoever reads it back from job.json computes it again: what
can be derived is not believed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import inf

from actors.errors import SpecError
from jobs.spec.job_spec import Budget


def threshold_for(scores: Sequence[float], refine: float) -> float:
    """The threshold below which the fraction `refine` of `scores` lies.

    scores: ascending, at least one. Halfway between two scores, so that a score that equals the
    threshold is never a matter of rounding; -inf rejects nothing, inf everything.
    """
    rejected = round(refine * len(scores))
    if rejected == 0:
        return -inf
    if rejected == len(scores):
        return inf
    highest, next_score = scores[rejected - 1], scores[rejected]
    between = (highest + next_score) / 2
    # Of two neighbouring floats the middle is one or the other.
    return between if between > highest else next_score


def fraction_below(scores: Sequence[float], threshold: float) -> float:
    """The fraction of ascending `scores` that `threshold` rejects."""
    return bisect_left(scores, threshold) / len(scores)


def certain_threshold(budget: Budget) -> tuple[float, float] | None:
    """(threshold, fraction to refine) of a budget that needs no sample; None for the others.

    Of a budget that is a threshold the fraction is not known, and is 0 here.
    """
    if budget.threshold is not None:
        return budget.threshold, 0.0
    if budget.refine in (0, 1):
        return (inf if budget.refine else -inf), budget.refine
    return None


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
