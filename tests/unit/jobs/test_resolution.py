"""Choices that are made when a job is resolved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.errors import SpecError
from jobs.identity import continues, write_job
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec
from tests.outputs import job_file
from tests.unit.jobs.local import write_prompts

CALIBRATION: dict[str, Any] = {
    **{"scores": [], "refine": 0.0, "threshold": "0.5", "rows": 0},
    **{"seconds_per_row": {}, "wall_seconds": 0.0},
}


def resolved(folder: Path, **fields: Any) -> Job:
    source = write_prompts(folder / "p.csv", 10)
    budget = {"budget": {"threshold": 0.5}}
    needed = {"input": str(source), "output": str(folder / "out"), "models": "timed-zero"}
    return resolve(make_spec({**needed, **budget, **fields}))


def begin(job: Job, rows_per_part: int) -> None:
    """As a version began it that had another rule for this number."""
    job.output.path.mkdir()
    write_job(job, CALIBRATION)
    written = json.loads(job_file(job.output).read_text())
    for spec in (written["spec"], written["identity"]["spec"]):
        spec["rows_per_part"] = rows_per_part
    job_file(job.output).write_text(json.dumps(written))


def test_the_default_becomes_a_number_of_the_jobs_identity(tmp_path: Path) -> None:
    job = resolved(tmp_path)
    assert (job.spec.rows_per_part, job.prompts.num_parts) == (2048, 1)
    job.output.path.mkdir()
    write_job(job, CALIBRATION)
    assert job.output.require_job()["identity"]["spec"]["rows_per_part"] == 2048


@pytest.mark.parametrize("given", [{}, {"rows_per_part": 4}])
def test_an_output_keeps_the_number_with_which_it_began(
    tmp_path: Path, given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that is refused today: 4 rows are less than a batch of 16."""
    begin(resolved(tmp_path), 4)
    job = resolved(tmp_path, **given)
    assert (job.spec.rows_per_part, job.prompts.num_parts) == (4, 3)
    assert continues(job) is not None
    assert "rows_per_part" not in caplog.text


def test_a_new_job_with_less_than_a_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="rows_per_part: 4 is less than a batch of the student"):
        resolved(tmp_path, rows_per_part=4)
    begin(resolved(tmp_path), 4)
    with pytest.raises(SpecError, match="rows_per_part: 5 is less than a batch"):
        resolved(tmp_path, rows_per_part=5)


def test_a_guidance_scale_for_each_row_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Each batch of 16 would have one row. A job that has begun goes on, as one of a version that
    let it; and a pilot's rows lie far apart, so that they say nothing about parts."""
    scales = "\n".join(f"picture {n},{2 + n / 100}" for n in range(600))
    (tmp_path / "s.csv").write_text(f"prompt,cfg\n{scales}\n")
    fields = {"input": str(tmp_path / "s.csv"), "guidance_scale_column": "cfg"}
    said = "cfg: rows of different values.* the 256 rows of a part have 256 different ones"
    with pytest.raises(SpecError, match=f"{said}.*take 16 times as long.*batch_size to 1"):
        resolved(tmp_path, rows_per_part=256, **fields)
    resolved(tmp_path, rows_per_part=256, limit=300, **fields)
    alone = {"preset": "timed-zero", "teacher": {"batch_size": 1}}
    resolved(tmp_path, rows_per_part=256, models=alone, **fields)
    begin(resolved(tmp_path), 256)
    resolved(tmp_path, **fields)


def test_few_batches_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = resolved(tmp_path, rows_per_part=255)
    assert caplog.text.count("rows_per_part: 255 is only 15.9 batches of the student") == 1
    begin(job, 255)
    caplog.clear()
    resolved(tmp_path, rows_per_part=255)
    assert caplog.text == ""
