"""The rejected fraction: steady while nothing changes, quick when it does, never 0 by accident."""

from __future__ import annotations

from random import Random

import pytest

from jobs.execution.estimators import RejectionEstimator, ThroughputEstimator


def test_before_a_row_is_judged_it_is_what_the_calibration_found() -> None:
    assert RejectionEstimator(0.3, weight=256).mean == pytest.approx(0.3, abs=0.001)


def test_no_rows_and_no_prior_are_even_chances() -> None:
    assert RejectionEstimator(0.0, weight=0.0).mean == 0.5


@pytest.mark.parametrize(("rejected", "low", "high"), [(0, 1e-5, 0.01), (16, 0.99, 1 - 1e-5)])
def test_a_long_time_of_one_outcome_is_never_taken_for_certain(
    rejected: int, low: float, high: float
) -> None:
    rejection = RejectionEstimator(0.3)
    for _ in range(5000):
        rejection.add(16, rejected)
    assert low < rejection.mean < high


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_threshold_that_lets_nothing_or_everything_through_is_certain(fraction: float) -> None:
    rejection = RejectionEstimator(fraction, certain=True)
    rejection.add(1000, 500)
    assert rejection.mean == fraction


def test_a_change_is_seen_within_a_window() -> None:
    random, rejection = Random(0), RejectionEstimator(0.05)
    for _ in range(1000):
        rejection.add(16, sum(random.random() < 0.05 for _ in range(16)))
    assert rejection.mean == pytest.approx(0.05, rel=0.3)
    for _ in range(1000 // 16):
        rejection.add(16, sum(random.random() < 0.75 for _ in range(16)))
    assert rejection.mean > 0.4
    for _ in range(1000):
        rejection.add(16, sum(random.random() < 0.75 for _ in range(16)))
    assert rejection.mean == pytest.approx(0.75, rel=0.05)


def test_chance_is_not_taken_for_a_change() -> None:
    random, rejection = Random(1), RejectionEstimator(0.3)
    means = []
    for _ in range(4000):
        rejection.add(16, sum(random.random() < 0.3 for _ in range(16)))
        means.append(rejection.mean)
    late = means[1000:]
    assert max(late) - min(late) < 0.04


def test_a_pace_counts_what_padding_costs() -> None:
    pace = ThroughputEstimator()
    assert not pace.known
    for rows in (16, 16, 16, 4):
        pace.add(12.0, rows)
    assert pace.row_seconds == pytest.approx(48 / 52, rel=0.05)
    assert pace.call_rows == pytest.approx(13, rel=0.05)
