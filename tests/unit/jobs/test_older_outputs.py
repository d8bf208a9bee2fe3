"""Outputs that earlier versions wrote are verified, continued, extended and retried."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import OutputError
from jobs.identity import continues
from jobs.output.dataset import open_output
from jobs.output.job_file import FORMAT
from jobs.output.verify import verify
from jobs.resolution import Job
from tests.outputs import job_file, record_file
from tests.unit.jobs.local import LocalDispatcher, bytes_of, local_job, retry, run, write_prompts

OUTPUTS = Path(__file__).parents[2] / "data/outputs"
VERSIONS = sorted(folder.name for folder in OUTPUTS.iterdir())

JOBS: dict[str, dict[str, Any]] = {
    "refined": {},
    "best": {
        "keep": "best",
        "save_student": False,
        "id_column": "id",
        "max_failed": 0.5,
        "budget": {"nfe": 6},
    },
}
"""Their fields. In `best` row 5 failed."""


@pytest.fixture(params=[(version, name) for version in VERSIONS for name in JOBS], ids="-".join)
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    """The job of an older output, of which this is a copy; 10 rows in parts of 4, 4 and 2."""
    version, name = request.param
    source = write_prompts(tmp_path / "p.csv", 10)
    assert source.read_bytes() == (OUTPUTS / version / "p.csv").read_bytes()
    copytree(OUTPUTS / version / name, tmp_path / "out")
    return local_job(source, tmp_path / "out", **JOBS[name])


def tables_of(job: Job) -> list[pa.Table]:
    """Every part of a dataset, in order, as a reader has it."""
    return [pq.read_table(file) for file in sorted((job.output.path / "data").rglob("*.parquet"))]


def fields_of(job: Job) -> dict[str, Any]:
    return JOBS["best" if job.spec.keep == "best" else "refined"]


def test_an_older_output_is_good(job: Job) -> None:
    assert list(verify(job.output)) == []
    assert open_output(job.output.path).spec.prompt_column == "prompt"


def test_an_older_output_has_nothing_left_to_do(job: Job) -> None:
    before, dispatcher = bytes_of(job), LocalDispatcher(job)
    assert run(job, dispatcher).resumed_rows == 10
    assert dispatcher.drawn == []
    assert bytes_of(job) == before
    assert json.loads(job_file(job.output).read_text())["format"] == 2


def test_an_older_output_goes_on_where_it_stopped(job: Job) -> None:
    before, others = tables_of(job), bytes_of(job)[1:]
    record_file(job.output, 0).unlink()
    run(job)
    assert bytes_of(job)[1:] == others
    # Since format 3 the same rows make other pages.
    assert tables_of(job) == before
    assert list(verify(job.output)) == []


def test_an_older_output_grows(job: Job) -> None:
    before = bytes_of(job)
    write_prompts(Path(job.spec.input), 17)
    grown = local_job(Path(job.spec.input), job.output.path, **fields_of(job))
    dispatcher = LocalDispatcher(grown)
    run(grown, dispatcher, extend=True)
    assert dispatcher.drawn == [f"picture {n}" for n in range(8, 17)]
    assert bytes_of(grown)[:2] == before[:2]
    assert list(verify(grown.output)) == []


def test_failed_rows_of_an_older_output_are_drawn_again(job: Job) -> None:
    dispatcher = LocalDispatcher(job)
    assert retry(job, dispatcher).failed_rows == 0
    assert dispatcher.drawn == (["picture 5"] if job.spec.keep == "best" else [])
    assert list(verify(job.output)) == []


def test_a_field_that_an_older_version_did_not_know_has_its_default(job: Job) -> None:
    """As `draws` was such a field once, and `vae_tiling` in the models."""
    written = json.loads(job_file(job.output).read_text())
    for spec in (written["spec"], written["identity"]["spec"]):
        del spec["draws"], spec["models"]["student"]["vae_tiling"]
    job_file(job.output).write_text(json.dumps(written))
    assert list(verify(job.output)) == []
    more = local_job(Path(job.spec.input), job.output.path, **fields_of(job), draws=2)
    with pytest.raises(OutputError, match="draws: was 1, is 2"):
        run(more)
    assert run(job).resumed_rows == 10


def test_an_older_output_keeps_its_sample_though_the_default_is_another(job: Job) -> None:
    """Format 1 wrote the default, 256 rows, where this version leaves the number to the job's size.

    The threshold stays the one that follows from the scores in the file: nothing is drawn for it.
    """
    before, written = tables_of(job), json.loads(job_file(job.output).read_text())
    for spec in (written["spec"], written["identity"]["spec"]):
        spec["calibration_rows"] = 256
    job_file(job.output).write_text(json.dumps(written))
    fields = {**fields_of(job), "calibration_rows": None}
    other = local_job(Path(job.spec.input), job.output.path, **{**fields, "calibration_rows": 64})
    with pytest.raises(OutputError, match="calibration_rows: was 256, is 64"):
        run(other)
    silent = local_job(Path(job.spec.input), job.output.path, **fields)
    record_file(job.output, 0).unlink()
    dispatcher = LocalDispatcher(silent)
    run(silent, dispatcher)
    assert dispatcher.drawn == [f"picture {n}" for n in range(4)]
    assert tables_of(silent) == before
    now = silent.output.require_job()
    assert now["calibration"] == written["calibration"]
    assert (now["format"], now["spec"]["calibration_rows"]) == (2, None)
    assert run(silent).resumed_rows == 10
    assert list(verify(silent.output)) == []


def test_an_output_of_a_newer_version_is_refused(job: Job) -> None:
    written = json.loads(job_file(job.output).read_text())
    job_file(job.output).write_text(json.dumps({**written, "format": FORMAT + 1, "colour": "red"}))
    with pytest.raises(OutputError, match=r"a newer version wrote it\. Use that version"):
        run(job)


def test_what_an_older_version_did_not_write_is_no_difference(job: Job) -> None:
    """Where the refinement starts, as the models' files say it, and the pictures' one size."""
    now = replace(job, refinements=(replace(job.refinement, start=0.87, size=(64, 64)),))
    before = continues(now)
    assert before is not None
    written = {**before, "refinement": {**before["refinement"], "start": 0.87}}
    job_file(job.output).write_text(json.dumps(written))
    assert continues(now) is not None
    other = replace(now, refinements=(replace(now.refinement, start=0.5),))
    with pytest.raises(OutputError, match=r"refinement\.start: was 0\.87, is 0\.5"):
        continues(other)
