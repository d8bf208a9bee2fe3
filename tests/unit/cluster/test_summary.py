"""The first lines of a run say what it is about to do."""

from __future__ import annotations

from pathlib import Path

from cluster.views.summary import summary
from tests.unit.jobs.local import local_job, write_prompts


def test_the_models_and_the_budget_are_told(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out", keep="best")
    _, models, budget = summary(job)
    assert models == (
        "models: student shapes/weights/student (2 evaluations), oracle blip-itm, "
        "teacher shapes/weights/teacher"
    )
    assert budget == (
        "budget: refine 0.5; the teacher refines from strength 0.6 in 3 steps (6 evaluations), "
        "and the row keeps the better picture"
    )


def test_a_search_is_told_with_all_that_it_tries(tmp_path: Path) -> None:
    fields = {"ladder": "search", "budget": {"nfe": 5}, "calibration_rows": 16}
    job = local_job(write_prompts(tmp_path / "p.csv", 20), tmp_path / "out", **fields)
    *_, line = summary(job)
    assert line == (
        "ladder: the calibration finds the best within 5 network evaluations a picture. It tries "
        "to draw up to 4 times; refine (strength 0.6); refine (strength 0.8, steps 8); regenerate "
        "(steps 12)"
    )
