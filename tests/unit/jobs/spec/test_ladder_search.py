"""The search for a ladder: what it tries, what it says of a ladder, and which it chooses."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.spec.climb import Ladder, Rung, climb
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.ladder import (
    LadderRung,
    Refine,
    Regenerate,
    attempts_of,
    check_ladder,
    thresholds_of,
)
from jobs.spec.ladder_search import (
    DRAWINGS,
    LEAST_ROWS,
    Candidate,
    SampledAttempts,
    Tried,
    best_ladders,
    candidates,
    every_attempt,
    highest_refined,
    outcome,
    tried_for,
)

TRIED = Tried(3, (Refine(strength=0.8, steps=8), Regenerate(steps=12)))
NFE = (2, 2, 2, 16, 24)
QUANTILES = (0.2, 0.5)
ALL = list(candidates(TRIED, QUANTILES))
SCORE = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, 0.5]))
ROWS = st.lists(st.tuples(SCORE, *[st.one_of(SCORE, st.just(np.nan))] * 4), min_size=2, max_size=12)


def spec(**fields: Any) -> JobSpec:
    return make_spec({"input": "p.csv", "output": "out", "models": "shapes", **fields})


def sampled(scores: Any, merits: Any = None) -> SampledAttempts:
    values = np.array(scores, dtype=np.float64)
    return SampledAttempts(TRIED, NFE, values, values if merits is None else np.array(merits))


EQUAL = [(0.0, 0.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.5, 0.5, 0.5)]
"""Of equals a row has its first drawing, or the teacher's picture."""


@given(ROWS, st.sampled_from(ALL))
@example(EQUAL, next(one for one in ALL if one.ladder[-1].keep == "best"))
@example(EQUAL, next(one for one in ALL if one.ladder[0].draw == 2))
def test_a_ladders_cost_and_pictures_are_those_of_each_row_climbing_it(
    rows: list[tuple[float, ...]], candidate: Candidate
) -> None:
    sample = sampled(rows, np.arange(5.0 * len(rows)).reshape(-1, 5))
    below = thresholds_of(attempts_of(candidate.ladder), sample.first_scores)
    ladder: Ladder = tuple(
        attempt.rung(at)
        for attempt, at in zip(attempts_of(candidate.ladder), (inf, *below), strict=True)
    )
    spent, merit = outcome(sample, candidate, below)
    for row, scores in enumerate(rows):
        there = [scores[n] for n in candidate.attempts]
        ended = climb(ladder, [None if np.isnan(one) else one for one in there])
        assert spent[row] == sum(NFE[candidate.attempts[rung]] for rung in ended.taken)
        assert ended.has is not None
        assert merit[row] == 5 * row + candidate.attempts[ended.has], "that of its picture"


def test_the_merit_is_of_the_picture_that_the_row_has() -> None:
    """Another judge may say of the oracle's choice that it was the worse picture."""
    sample = sampled([[0.1, 0.9, 0, 0, 0], [0.8, 0.9, 0, 0, 0]], [[1, 0, 7, 7, 7], [1, 0, 7, 7, 7]])
    twice = Candidate((LadderRung(draw=2, until=0.5),), (0, 1))
    spent, merit = outcome(sample, twice, [0.5])
    assert spent.tolist() == [4, 2]
    assert merit.tolist() == [0, 1]


def test_every_candidate_is_a_ladder_that_a_job_file_may_have_and_no_two_are_equal() -> None:
    ladders = [candidate.ladder for candidate in candidates(TRIED)]
    assert len(set(ladders)) == len(ladders) > 100
    for ladder in ladders:
        check_ladder(ladder)
        written = [rung.model_dump(exclude_none=True) for rung in ladder]
        assert spec(ladder=written).ladder == ladder
    made = {tuple(rung.make for rung in _rungs(ladder)) for ladder in ladders}
    assert ("draw",) in made
    assert ("draw", "draw", "draw", "refine", "regenerate") in made


def _rungs(ladder: tuple[LadderRung, ...]) -> list[Rung]:
    return [attempt.rung(0) for attempt in attempts_of(ladder)]


def test_what_is_tried_is_the_jobs_own_and_what_helped_the_embedded_set() -> None:
    assert tried_for(spec(teacher_steps=10)) == Tried(
        DRAWINGS,
        (Refine(strength=0.6, steps=10), Refine(strength=0.8, steps=8), Regenerate(steps=12)),
    )
    assert tried_for(spec(strategy="regenerate", draws=6)) == Tried(
        6, (Regenerate(steps=25), Regenerate(steps=12))
    )


def test_of_a_job_with_a_ladder_its_own_attempts_are_tried_and_no_others() -> None:
    job = spec(
        ladder=[
            {"draw": 2, "until": 0.3},
            {"draw": 1, "until": {"score": 0.1}},
            {"refine": {"variance": 0.9}, "below": 0.2},
            {"refine": {"variance": 0.9}, "below": 0.1},
        ]
    )
    assert tried_for(job) == Tried(3, (Refine(variance=0.9),))


def test_every_attempt_is_a_job_of_its_own_whose_search_is_the_same() -> None:
    for job in (spec(draws=2, budget={"nfe": 4}, keep="best"), spec(ladder=[{"draw": 1}])):
        every = every_attempt(job)
        assert tried_for(every) == tried_for(job)
        assert every.draws == 1
        assert make_spec(every.model_dump(mode="json")) == every
        assert every_attempt(every) == every


def noisy(rows: int, seed: int = 0) -> SampledAttempts:
    """Scores without any truth in them: no ladder is better than drawing again as often."""
    return sampled(np.random.default_rng(seed).normal(size=(rows, 5)))


def test_a_larger_budget_never_has_a_worse_ladder_where_it_is_chosen_and_stays_within() -> None:
    sample = noisy(200)
    found = best_ladders(sample, [8.0, 2.0, 3.0, 1.0, 3.0])
    assert [one.budget for one in found] == [2.0, 3.0, 8.0], "a drawing costs 2"
    assert found[0].ladder == (LadderRung(draw=1),)
    assert found[0].gain.mean == found[0].gain.low == 0
    choosing = sample.rows(slice(0, None, 2))
    chosen = []
    for one in found:
        (candidate,) = (each for each in candidates(TRIED) if each.ladder == one.ladder)
        below = thresholds_of(attempts_of(one.ladder), choosing.first_scores)
        spent, merit = outcome(choosing, candidate, below)
        assert spent.mean() <= one.budget
        chosen.append(merit.mean())
    assert chosen == sorted(chosen)


def test_the_figures_are_of_the_rows_that_did_not_choose() -> None:
    """The other half is as it was: whatever its pictures are, the same ladders are chosen."""
    sample = noisy(100)
    scores = sample.scores.copy()
    scores[1::2] -= 50
    before, after = best_ladders(sample, [4.0]), best_ladders(sampled(scores), [4.0])
    assert before[0].ladder == after[0].ladder
    assert after[0].merit.mean < -40 < before[0].merit.mean


def test_a_merit_that_the_scores_say_nothing_of_is_not_gained_on_the_other_half() -> None:
    """The best of hundreds looks better than it is; the half that judges does not see that."""
    rng = np.random.default_rng(3)
    gains = []
    for seed in range(20):
        made = noisy(80, seed)
        made = replace(made, merits=rng.normal(size=made.scores.shape))
        gains.append(best_ladders(made, [8.0])[0].gain.mean)
    assert abs(np.mean(gains)) < 0.15


def test_a_row_without_a_first_drawing_does_not_count() -> None:
    sample = noisy(60)
    scores = np.insert(sample.scores, 7, np.nan, axis=0)
    assert best_ladders(sampled(scores), [4.0]) == best_ladders(sample, [4.0])


def test_too_few_rows_choose_nothing() -> None:
    with pytest.raises(ValueError, match="15 rows are too few"):
        best_ladders(noisy(LEAST_ROWS - 1), [4.0])


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=40))
def test_no_candidate_sends_a_row_to_the_teacher_that_has_no_pictures_of_it(
    first: list[float],
) -> None:
    choosing = sorted(first[::2])
    below = highest_refined(first)
    for candidate in ALL:
        for scores in (sorted(first), choosing):
            thresholds = thresholds_of(attempts_of(candidate.ladder), scores)
            for rung, at in zip(_rungs(candidate.ladder)[1:], thresholds, strict=True):
                assert not rung.by_teacher or at <= below
