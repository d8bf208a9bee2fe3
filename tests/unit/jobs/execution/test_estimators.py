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


def test_of_a_job_that_was_sampled_whole_it_is_known_what_is_still_to_come() -> None:
    rejection = RejectionEstimator(0.5, weight=100, job_rows=100)
    assert rejection.deviation(100) == 0.0
    rejection.add(50, 40)
    assert rejection.rest == pytest.approx(0.2)
    assert rejection.deviation(50) == 0.0


def test_what_a_sample_of_the_whole_job_has_is_still_to_come() -> None:
    """Of sorted rows the first say little about the others: from 0.5 to 0.95, and the other way."""
    for first, last in ((0.5, 0.95), (0.95, 0.5)):
        rejection = RejectionEstimator(0.725, weight=256, job_rows=2400)
        alone = RejectionEstimator(0.725, weight=256)
        for _ in range(60):
            rejection.add(16, round(16 * first))
            alone.add(16, round(16 * first))
        rest = (0.725 * 2400 - 960 * first) / 1440
        assert abs(alone.rest - rest) > 0.2
        assert rejection.rest == pytest.approx(rest, abs=0.08)
        assert last - 0.2 < rejection.rest < last + 0.2


def test_where_all_rows_are_alike_the_judged_ones_count_for_more_than_a_small_sample() -> None:
    """The sample had three points too many: nearly all of a job is judged, and says so."""
    random, rejection = Random(2), RejectionEstimator(0.33, weight=256, job_rows=20_000)
    for _ in range(1100):
        rejection.add(16, sum(random.random() < 0.3 for _ in range(16)))
        assert rejection.rest == pytest.approx(0.3, abs=0.04)
    assert rejection.rest == pytest.approx(0.3, abs=0.015)
