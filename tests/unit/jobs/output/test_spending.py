"""What was spent, beside the budget; and how sure a threshold is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.output.dataset import open_output
from jobs.output.records import describe_calibration
from jobs.output.spending import describe_spending
from jobs.spec.job_spec import make_spec
from tests.unit.jobs.job_files import job_file
from tests.unit.jobs.local import LocalDispatcher, local_job, run, write_prompts

RECORDS = [
    {
        "rows": 60, "from_student": 40, "from_teacher": 18, "refined": 18, "failed": 2, "nfe": 300,
        "kept_after_failed_refinement": 1,
        "seconds": {"student": 6.0, "oracle": 1.0, "teacher": 20.0, "files": 99.0},
    },
    {
        "rows": 40, "from_student": 30, "from_teacher": 10, "refined": 10, "failed": 0, "nfe": 190,
        "seconds": {"student": 4.0, "oracle": 0.8},
    },
]  # fmt: skip
"""Of 100 rows 98 have a picture; the teacher worked on 29 of them."""


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"refine": 0.3}, "29.6% of the pictures refined, of a budget of 0.3"),
        ({"nfe": 5}, "5.00 network evaluations a picture, of a budget of 5"),
        (
            {"gpu_seconds": 0.35},
            "0.324 actor-seconds a picture, of a budget of 0.35; 29.6% of the pictures refined",
        ),
        ({"threshold": 0.5}, "29.6% of the pictures refined; the budget is a threshold"),
    ],
)
def test_the_spending_is_in_the_unit_of_the_budget(budget: dict[str, Any], said: str) -> None:
    spec = make_spec({"input": "-", "output": "-", "models": "shapes", "budget": budget})
    assert describe_spending(job_file(spec), RECORDS) == said
    assert describe_spending(job_file(spec), []) == "no row has a picture"


def calibration(**fields: Any) -> dict[str, Any]:
    return {"threshold": "0.41234", "refine": 0.3, "rows": 256, "wall_seconds": 12.3, **fields}


def test_a_threshold_says_how_sure_it_is() -> None:
    assert describe_calibration(calibration(), 10**6) == (
        "0.4123 refines 30.0% of 256 sampled rows, and so 24.7% to 35.9% of all (95% interval); "
        "measured in 12 s, with the start of the actors"
    )
    of_all = describe_calibration(calibration(), 256)
    assert "and so 30.0% to 30.0% of all" in of_all
    none = describe_calibration(calibration(threshold="-inf", refine=0.0), 10**6)
    assert none.startswith("-inf refines 0.0% of 256 sampled rows; measured")
    given = describe_calibration(calibration(rows=0, refine=0.0), 10**6)
    assert given == "0.4123, as the budget says"


def test_the_card_and_the_report_say_what_was_spent(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")
    run(job, LocalDispatcher(job))
    line = open_output(job.output.path).spending_line()
    assert line.endswith("of the pictures refined, of a budget of 0.5")
    for page in ("README.md", "report.html"):
        text = (job.output.path / page).read_text()
        assert line in text
        assert "of all (95% interval)" in text
