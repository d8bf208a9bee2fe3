"""From a budget to a threshold: arithmetic, and the sentence when it cannot be met."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.errors import SpecError
from jobs.execution.calibration import refine_fraction, table
from jobs.resolution import Job
from jobs.resolution import resolve as resolve_job
from jobs.spec.job_spec import make_spec
from jobs.spec.threshold import fraction_below, threshold_for

SCORES = st.lists(st.floats(-5, 5), min_size=1, max_size=50, unique=True).map(sorted)


def job(tmp_path: Any, **fields: Any) -> Job:
    (tmp_path / "p.txt").write_text("a red circle\n")
    given = {"input": str(tmp_path / "p.txt"), "output": str(tmp_path / "o"), "models": "shapes"}
    return resolve_job(make_spec({**given, **fields}))


@given(SCORES, st.floats(0, 1))
@example([-5.0, -4.999999999999999, 0.0], 0.25)
def test_the_threshold_rejects_the_fraction(scores: list[float], refine: float) -> None:
    threshold = threshold_for(scores, refine)
    rejected = sum(score < threshold for score in scores)
    assert abs(rejected - refine * len(scores)) <= 0.5
    assert fraction_below(scores, threshold) == rejected / len(scores)


def test_none_and_all_are_certain() -> None:
    assert threshold_for([1.0, 2.0], 0.0) == -inf
    assert threshold_for([1.0, 2.0], 1.0) == inf


def test_equal_scores_are_on_one_side() -> None:
    scores = [1.0, 2.0, 2.0, 2.0]
    assert fraction_below(scores, threshold_for(scores, 0.5)) == 0.25


def test_a_budget_in_evaluations_becomes_a_fraction(tmp_path: Any) -> None:
    made = job(tmp_path, budget={"nfe": 10})
    expected = (10 - made.student_nfe) / made.teacher_nfe
    assert refine_fraction(made, {}) == pytest.approx(expected)
    assert refine_fraction(job(tmp_path, budget={"nfe": 10_000}), {}) == 1.0
    with pytest.raises(SpecError, match="less than the student alone takes"):
        job(tmp_path, budget={"nfe": 1})


def test_a_budget_in_seconds_becomes_a_fraction(tmp_path: Any) -> None:
    seconds = {"draw": 0.2, "score": 0.1, "refine": 0.9}
    made = job(tmp_path, budget={"gpu_seconds": 0.8})
    assert refine_fraction(made, seconds) == pytest.approx((0.8 - 0.3) / 1.0)
    with pytest.raises(SpecError, match="less than drawing and scoring alone"):
        refine_fraction(job(tmp_path, budget={"gpu_seconds": 0.2}), seconds)


def test_the_table_goes_from_the_student_alone_to_everything(tmp_path: Any) -> None:
    made = job(tmp_path)
    rows = table(made, [float(n) for n in range(10)])
    assert [row.refine for row in rows] == [p / 10 for p in range(11)]
    assert rows[0].nfe == made.student_nfe
    assert rows[-1].nfe == made.student_nfe + made.teacher_nfe
    assert [row.threshold for row in rows] == sorted(row.threshold for row in rows)


def test_steps_that_do_not_fit_the_rollback_are_refused(tmp_path: Any) -> None:
    with pytest.raises(SpecError, match="60 steps do not fit"):
        job(tmp_path, rollback={"strength": 0.05}, teacher_steps=60)
    assert job(tmp_path, rollback={"strength": 0.05}, teacher_steps=50).refinement.steps == 50


def test_a_variance_becomes_the_strength_of_the_teachers_schedule(tmp_path: Any) -> None:
    low = job(tmp_path, rollback={"variance": 0.1}).refinement
    high = job(tmp_path, rollback={"variance": 0.9}).refinement
    assert 0 < low.strength < high.strength < 1
    assert low.steps < high.steps
