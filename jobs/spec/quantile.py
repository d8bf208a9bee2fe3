"""From a sample's scores to a threshold, and back: arithmetic alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf


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
