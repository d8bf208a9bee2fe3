"""A schedule in whole calls: exact where it can be computed by hand."""

from __future__ import annotations

from heapq import heapreplace
from math import inf
from random import Random

import numpy as np
import pytest

from jobs.scaling.schedule import Work, seconds_for, seconds_in_all

WORK = Work(
    draws=8, refines=4, draw_seconds=1.0, score_seconds=0.0, refine_seconds=5.0, load_seconds=3.0
)


def test_everything_is_drawn_and_then_refined() -> None:
    """3 s of loading, two rounds of drawing, 3 s of loading, one round of refining."""
    assert seconds_in_all(WORK, 4, 1, 0, 4) == pytest.approx(3 + 2 + 3 + 5)
    assert seconds_in_all(WORK, 4, 1, 0, 0) == inf, "nobody refines"


def test_teachers_begin_with_the_first_rejected_rows() -> None:
    """Call j is there after 2 j draws. Two students draw two calls a second."""
    assert seconds_in_all(WORK, 2, 1, 2, 0) == pytest.approx(3 + 2 + 2 * 5)
    # One teacher: it has begun with the first call; the students become teachers in 3 s.
    assert seconds_in_all(WORK, 2, 1, 1, 2) == pytest.approx(3 + 4 + 3 + 5)


def test_without_rejected_rows_the_students_end_the_job() -> None:
    nothing = Work(
        draws=9, refines=0, draw_seconds=1.0, score_seconds=0.5, refine_seconds=5.0, load_seconds=3
    )
    assert seconds_in_all(nothing, 4, 1, 1, 3) == pytest.approx(3 + 3 + 0.5)
    assert seconds_in_all(nothing, 0, 1, 1, 3) == inf


def test_whoever_is_free_first_takes_the_next_call() -> None:
    assert seconds_for(3, np.array([0.0, 4.0]), 5.0) == pytest.approx(10.0)
    assert seconds_for(4, np.array([0.0, 4.0]), 5.0) == pytest.approx(14.0)


def test_whoever_is_free_first_takes_the_next_call_one_by_one() -> None:
    random = Random(4)
    for _ in range(200):
        free = [
            random.choice([0.0, 3.0, 20 * random.random()]) for _ in range(random.randint(1, 9))
        ]
        calls, each = random.randint(1, 40), random.choice([0.5, 2.0, 7.3])
        lanes, end = sorted(free), 0.0
        for _ in range(calls):
            end = max(end, lanes[0] + each)
            heapreplace(lanes, lanes[0] + each)
        assert seconds_for(calls, np.array(free), each) == pytest.approx(end)
    assert seconds_for(5, np.array([2.0, 1.0]), 0.0) == 1.0
