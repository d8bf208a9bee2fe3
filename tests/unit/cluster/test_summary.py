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
