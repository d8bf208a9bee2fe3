"""The calibration's sample: its rows, its size, and what it says about all rows."""

from __future__ import annotations

from collections import Counter
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec.quantile import fraction_below, threshold_for
from jobs.spec.sample import refined_interval, sample_rows, sample_size


@given(st.data(), st.integers(1, 10**12), st.integers(0, 2**63 - 1))
def test_a_sample_has_one_row_of_each_stretch(
    data: st.DataObject, num_rows: int, seed: int
) -> None:
    count = data.draw(st.integers(1, min(num_rows, 300)))
    rows = sample_rows(num_rows, count, seed)
    assert rows == sample_rows(num_rows, count, seed)
    assert rows == sorted(set(rows))
    for number, row in enumerate(rows):
        assert num_rows * number // count <= row < num_rows * (number + 1) // count


@given(st.integers(1, 300))
def test_a_sample_of_all_rows_is_all_rows(num_rows: int) -> None:
    assert sample_rows(num_rows, num_rows, seed=7) == list(range(num_rows))


def test_another_seed_is_another_sample() -> None:
    assert sample_rows(10_000, 10, seed=1) != sample_rows(10_000, 10, seed=2)


NUM_STYLES = 3


@pytest.mark.parametrize("seed", range(5))
def test_a_product_of_prompts_and_styles_is_sampled_in_every_style(seed: int) -> None:
    """25,600 prompts times 3 styles: a row every 300 rows would be of the first style always."""
    rows = sample_rows(25_600 * NUM_STYLES, 256, seed)
    styles = Counter(row % NUM_STYLES for row in rows)
    # Each style has a third of 256 rows, within four standard deviations of a binomial.
    assert all(abs(styles[style] - 256 / 3) < 4 * (256 * 2 / 9) ** 0.5 for style in range(3))


def test_a_budget_holds_where_the_rows_are_a_product() -> None:
    """Captions of one, two and three objects, each harder than the one before."""
    random = Random(0)
    scores = [random.gauss(-(row % NUM_STYLES)) for row in range(25_600 * NUM_STYLES)]
    in_order, refined, held = sorted(scores), [], 0
    for seed in range(200):
        sampled = sorted(scores[row] for row in sample_rows(len(scores), 256, seed))
        threshold = threshold_for(sampled, 0.3)
        refined.append(fraction_below(in_order, threshold))
        here = fraction_below(sampled, threshold)
        low, high = refined_interval(here, 256, len(scores))
        held += low <= refined[-1] <= high
    assert fmean(refined) == pytest.approx(0.3, abs=0.01)
    assert held / 200 == pytest.approx(0.95, abs=0.04)
    first_style = sorted(scores[row] for row in range(0, len(scores), 300))
    assert fraction_below(in_order, threshold_for(first_style, 0.3)) > 0.5


@pytest.mark.parametrize(
    ("wanted", "num_rows", "size"),
    [
        (None, 10, 10),
        (None, 256, 256),
        (None, 25_600, 256),
        (None, 100_000, 1_000),
        (None, 819_200, 8_192),
        (None, 10**9, 8_192),
        (64, 10**9, 64),
        (64, 10, 10),
    ],
)
def test_the_sample_grows_with_the_job(wanted: int | None, num_rows: int, size: int) -> None:
    assert sample_size(wanted, num_rows) == size


@pytest.mark.parametrize(
    ("scores", "low", "high"), [(256, 0.246, 0.355), (1024, 0.273, 0.331), (8192, 0.29, 0.31)]
)
def test_the_interval_is_what_samples_were_seen_to_give(
    scores: int, low: float, high: float
) -> None:
    """The 95 % of jobs with a budget of 0.30 whose refined fraction was counted."""
    refine = round(0.3 * scores) / scores
    assert refined_interval(refine, scores, 10**7) == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize("refine", [0.02, 0.3, 0.9])
@pytest.mark.parametrize(("scores", "num_rows"), [(256, 10**9), (1024, 10**9), (256, 512)])
def test_the_interval_holds_the_fraction_of_all_rows_95_times_in_100(
    refine: float, scores: int, num_rows: int
) -> None:
    """Thresholds of samples out of known scores. 2,000 trials: 95 % to about a point."""
    random, trials, held = Random(1), 2_000, 0
    for _ in range(trials):
        # The scores of all rows are even in [0, 1): a threshold t rejects t of them. For the small
        # job they are the sample's own and those of the other rows.
        drawn = sorted(random.random() for _ in range(scores))
        threshold = threshold_for(drawn, refine)
        here = fraction_below(drawn, threshold)
        truth = threshold
        if num_rows < 10**9:
            others = num_rows - scores
            below = sum(random.random() < threshold for _ in range(others))
            truth = (here * scores + below) / num_rows
        low, high = refined_interval(here, scores, num_rows)
        held += low <= truth <= high
    assert held / trials == pytest.approx(0.95, abs=0.02)


def test_a_sample_of_every_row_is_sure_and_one_without_refined_rows_is_not() -> None:
    assert refined_interval(0.31, 100, 100) == (0.31, 0.31)
    low, high = refined_interval(0.0, 256, 10**6)
    assert low == 0.0
    assert high == pytest.approx(0.0148, abs=1e-4)
