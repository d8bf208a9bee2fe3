"""The calibration's sample: its size, its rows, and how sure it is. Arithmetic alone."""

from __future__ import annotations

from math import sqrt

from actors.seeds import derive_seed

LEAST_ROWS = 256
"""Of a sample by default: the refined fraction of a budget of 30 % is then known to within 6 points
on either side. Chosen: a student draws so many in seconds to minutes."""

MOST_ROWS = 8192
"""Of a sample by default: a budget of 30 % is then known to within a point, as a user reads it."""

ROWS_PER_SAMPLED_ROW = 100
"""Of a job whose sample is between the two. A sampled row is drawn and scored once more than the
dataset needs it, so that this costs a hundredth of the student's work."""

Z95 = 1.959964
"""Standard deviations of a normal distribution on either side that hold 95 % of it."""


def sample_size(wanted: int | None, num_rows: int) -> int:
    """Rows of the sample of a job with `num_rows`; `wanted`: by the job file, None by default."""
    if wanted is None:
        wanted = max(LEAST_ROWS, min(MOST_ROWS, num_rows // ROWS_PER_SAMPLED_ROW))
    return min(wanted, num_rows)


def sample_rows(num_rows: int, count: int, seed: int) -> list[int]:
    """`count` of `num_rows` rows, ascending: one of each of `count` stretches of equal length.

    Stretches, because inputs are often sorted. A hash chooses the place within a stretch, because
    inputs are often products: of prompts times three styles, every 300th row has one style.
    """
    found = []
    for number in range(count):
        first, end = num_rows * number // count, num_rows * (number + 1) // count
        found.append(first + derive_seed(seed, f"calibration/{number}") % (end - first))
    return found


def refined_interval(refine: float, scores: int, num_rows: int) -> tuple[float, float]:
    """Which fraction of all rows a threshold refines: it lies in this interval, 95 times in 100.

    Not of an infinite threshold, which refines none or all, as is certain.

    refine: the fraction of the sample's `scores` that the threshold rejects. num_rows: of the job.
    Wilson's score interval, which holds near 0 and 1 too. The sample's rows are rows of the job: a
    sample that is half of the job counts as twice as many rows, and one that is all of it is sure.
    """
    if scores >= num_rows:
        return refine, refine
    independent = scores * num_rows / (num_rows - scores)
    weight = Z95**2 / independent
    middle = (refine + weight / 2) / (1 + weight)
    half = Z95 * sqrt((refine * (1 - refine) + weight / 4) / independent) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)
