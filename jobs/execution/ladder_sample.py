"""Makes every attempt of a search for a ladder on a sample, and keeps their scores.

Two parts go through the pools, as in a calibration: every row is drawn again and again; then the
teacher has the rows that any ladder of the search could send to it, and each of its ways makes a
picture of every one of them, from the first drawing.
"""

from __future__ import annotations

import logging
from math import inf

import numpy as np

from actors.counted import counted
from jobs.execution.calibration import drive_sample
from jobs.execution.cascade import Cascade
from jobs.execution.dispatcher import Dispatcher
from jobs.input.prompts import Part
from jobs.resolution import Job
from jobs.spec.ladder_search import Floats, SampledAttempts, Tried, highest_refined

log = logging.getLogger("bottega.calibrate")


def sample_attempts(
    job: Job, dispatcher: Dispatcher, sample: Part, tried: Tried
) -> SampledAttempts:
    """The scores of every attempt.

    job: with the ladder of all attempts, `tried.ladder`.
    """
    again, ways = tried.drawings - 1, len(tried.ways)
    log.info("drawing %s %d times", counted(len(sample.prompts), "row"), tried.drawings)
    scores = _scores(drive_sample(job, dispatcher, sample, [*[inf] * again, *[-inf] * ways]))
    first = scores[:, 0]
    drawn = [float(score) for score in first if np.isfinite(score)]
    if ways and drawn:
        with_teacher = first < highest_refined(drawn)
        others = frozenset(np.flatnonzero(~with_teacher).tolist())
        log.info("the teacher improves %s in %d ways", counted(with_teacher.sum(), "row"), ways)
        below = [*[-inf] * again, *[inf] * ways]
        refined = _scores(drive_sample(job, dispatcher, sample, below, kept=others))
        scores[:, tried.drawings :] = refined[:, tried.drawings :]
    return SampledAttempts(tried, job.rung_nfe, scores, scores)


def _scores(cascade: Cascade) -> Floats:
    """(rows, rungs), nan where there is none."""
    rows = [cascade.scores_of(row) for row in range(cascade.num_rows)]
    return np.array(rows, dtype=np.float64)
