"""The plan of a job with a ladder: the load of every rung, and evaluations by rung."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.planning.forecast import plan as forecast
from jobs.scaling.rungs import AGAIN
from jobs.spec.job_spec import make_spec


def plan_of(ladder: list[dict[str, Any]], gpus: int = 8) -> Any:
    fields = {"input": "-", "output": "-", "models": "timed", "ladder": ladder}
    return forecast(make_spec(fields), rows=20_000, gpus=gpus)


def test_a_plan_knows_the_load_of_every_rung() -> None:
    found = plan_of(
        [
            {"draw": 3, "until": 0.3},
            {"refine": {"steps": 10}, "below": 0.3},
            {"regenerate": {"steps": 20}, "below": 0.3, "keep": "best"},
        ]
    )
    plan, models = found.plan, found.question.spec.models
    wanted = [1.0, *(0.3 * AGAIN**n for n in range(4))]
    assert plan.rungs == pytest.approx(wanted, abs=0.02)
    assert plan.refined == pytest.approx(wanted[3], abs=0.02)
    student = models.student.steps * models.student.evaluations_per_step
    each = models.teacher.evaluations_per_step
    costs = [student, student, student, 10 * each, 20 * each]
    spent = sum(taken * cost for taken, cost in zip(plan.rungs, costs, strict=True))
    assert plan.nfe == pytest.approx(spent)
    assert found.budgets == (), "a ladder has no budget to vary"
    assert plan.efficiency > 0.6


def test_a_ladder_without_a_teacher_starts_none() -> None:
    found = plan_of([{"draw": 3, "until": {"score": 0.2}}], gpus=4)
    assert found.plan.refined == 0.0
    assert found.plan.busy_hours["teacher"] == 0.0
    assert all(moment.sizes["teacher"] == 0 for moment in found.plan.timeline)


def test_further_attempts_take_time() -> None:
    once, again = plan_of([{"draw": 1}]), plan_of([{"draw": 4, "until": 0.5}])
    drawn = again.plan.busy_hours["student"] / once.plan.busy_hours["student"]
    assert drawn == pytest.approx(sum(again.plan.rungs), abs=0.1)
