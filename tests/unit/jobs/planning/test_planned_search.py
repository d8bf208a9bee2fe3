"""What a plan says of a search for a ladder that the calibration will make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.planning.forecast import plan
from jobs.planning.planned_search import planned_search
from jobs.spec.job_spec import JobSpec, make_spec


def spec(**fields: Any) -> JobSpec:
    usual: dict[str, Any] = {"input": "-", "output": "unused", "models": "shapes"}
    return make_spec({**usual, "budget": {"nfe": 5}, "ladder": "search", **fields})


def test_a_sampled_row_is_drawn_each_time_and_half_of_them_are_the_teachers_in_each_way() -> None:
    found = planned_search(spec(calibration_rows=100, teacher_steps=10), 5000)
    assert found is not None
    assert (found.rows, found.drawings) == (100, 4)
    assert found.ways == (
        "refine (strength 0.6, steps 10)",
        "refine (strength 0.8, steps 8)",
        "regenerate (steps 12)",
    )
    # Two steps of the student; the teacher's are guided, and count twice.
    assert found.evaluations == 100 * (4 * 2 + (20 + 16 + 24) / 2)


def test_of_a_job_without_a_search_there_is_none() -> None:
    assert planned_search(spec(ladder=None), 5000) is None


def test_a_plan_is_of_the_common_ladder_of_the_budget_and_says_what_the_search_will_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    timed = {"models": "timed", "budget": {"nfe": 14}}
    found = plan(spec(**timed), rows=20_000, gpus=4)
    assert found.search is not None
    assert found.search.rows == 256
    assert found.plan.nfe == pytest.approx(14, abs=0.2)
    assert found.budgets == ()
    page = json.loads(found.as_json())
    assert page["search"]["asked"]["budget"] == 14
    without = plan(spec(**timed, ladder=None), rows=20_000, gpus=4)
    assert without.search is None
    assert without.plan.wall_seconds == found.plan.wall_seconds
