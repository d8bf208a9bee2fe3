"""The sizes against the best plan by hindsight, on the virtual clock.

benchmarks/regret.py has a grid of such jobs; its `best_fixed`, too slow for a test, found the best.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from benchmarks.regret_cases import NAMED, run


@pytest.fixture(autouse=True, scope="module")
def _no_log() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("name", "best", "ray_data"),
    [("1,200 rows, p 0.3", 167.9, 182.0), ("1,200 rows, p 0.05 to 0.75", 197.4, 223.0)],
)
def test_a_short_job_is_near_the_best_split_and_faster_than_ray_data(
    name: str, best: float, ray_data: float
) -> None:
    seconds = run(NAMED[name]).seconds
    assert seconds <= 1.05 * best
    assert seconds <= 0.97 * ray_data
