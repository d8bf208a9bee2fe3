"""A plan's times: from stand-ins, a profile or records; and the refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.errors import SpecError
from actors.roles import ROLES
from jobs.planning.stage_times import StageTimes, stage_times
from jobs.refinement import planned_refinement
from jobs.spec.job_spec import JobSpec, make_spec
from tests.unit.jobs.job_files import job_file

HEAD = "model,role,gpu,steps,batch_size,seconds"


def spec(tmp_path: Path, **fields: Any) -> JobSpec:
    """A quarter of the embedded teacher's steps, after a rollback."""
    return make_spec(
        {
            "input": "-",
            "output": str(tmp_path / "out"),
            "models": "shapes",
            "teacher_steps": 5,
            **fields,
        }
    )


def times(job: JobSpec, **options: Any) -> StageTimes:
    return stage_times(job, planned_refinement(job), **options)


def profile(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "profile.csv"
    file.write_text("\n".join([HEAD, *lines, ""]))
    return file


MINE = ("mine,student,L4,4,16,8.0", "mine,teacher,L4,50,16,100.0")


def test_a_profile_is_scaled_by_the_steps_that_the_job_takes(tmp_path: Path) -> None:
    found = times(spec(tmp_path), profile=profile(tmp_path, *MINE, "mine,oracle,L4,1,16,0.8"))
    seconds = {name: timing.seconds(16, 16, 0, "L4") for name, timing in found.pools.items()}
    assert seconds == {"student": 8.0 * 2 / 4, "oracle": 0.8, "teacher": 100.0 * 5 / 50}
    assert found.teacher_alone.seconds(16, 16, 0) == 100.0 * 25 / 50
    assert found.usual_gpu == "L4"


def test_a_profile_without_an_oracle_takes_the_published_one_and_says_so(tmp_path: Path) -> None:
    found = times(spec(tmp_path), profile=profile(tmp_path, *MINE))
    assert found.oracle.seconds(16, 16, 0) == pytest.approx(0.32)
    assert "for the oracle 20 ms a picture" in found.source


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (MINE[:1], "has no teacher; a plan needs both"),
        (MINE[1:], "has no student; a plan needs both"),
        ((*MINE, "other,student,L4,2,16,8.0"), r"more than one student: mine \(4 steps\), other"),
    ],
)
def test_a_profile_has_one_model_of_each_role(
    lines: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=said):
        times(spec(tmp_path), profile=profile(tmp_path, *lines))


def test_models_of_unknown_speed_are_refused_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--profile .* --measured .* --models timed"):
        times(spec(tmp_path))
    with pytest.raises(SpecError, match="either --profile or --measured"):
        times(spec(tmp_path), profile=tmp_path, measured=tmp_path)


def test_a_type_of_gpu_without_times_is_refused(tmp_path: Path) -> None:
    found = times(spec(tmp_path, models="timed"))
    found.check({"A100-80G": 8})
    with pytest.raises(SpecError, match="how long the student takes on 'H100' is not known, only"):
        found.check({"A100-80G": 8, "H100": 2})


def write_job(
    folder: Path, job: JobSpec, steps: int = 10, model_files: str = "files", **fields: Any
) -> None:
    """The output folder of a job: 100 rows, 25 of them refined in `steps` steps."""
    refinement = {"strategy": "refine", "strength": 0.6, "steps": steps, "through": "latents"}
    written = job_file(job, refinement=refinement)
    if "refinements" in fields:
        written["refinements"] = fields.pop("refinements")
    written["identity"]["model_files"] = dict.fromkeys(ROLES, model_files)
    record = {
        "part": 0, "first_row": 0, "rows": 100, "bytes": 1, "sha256": "0" * 64, "from_student": 75,
        "from_teacher": 25, "refined": 25, "failed": 0, "nfe": 0,
        "seconds": {"student": 50.0, "oracle": 12.5, "teacher": 100.0, "files": 2.0},
        **fields,
    }  # fmt: skip
    (folder / "records/00000").mkdir(parents=True)
    (folder / "data/00000").mkdir(parents=True)
    (folder / "data/00000/part-00000000.parquet").write_bytes(b"x")
    (folder / "job.json").write_text(json.dumps(written))
    (folder / "records/00000/part-00000000.json").write_text(json.dumps(record))


@pytest.fixture
def _same_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.planning.stage_times._fingerprint", lambda *_: "files")


@pytest.mark.usefixtures("_same_files")
def test_records_give_seconds_a_row_and_the_fraction_that_was_refined(tmp_path: Path) -> None:
    job = spec(tmp_path)
    write_job(tmp_path / "out", job)
    for found in (times(job), times(job, measured=tmp_path / "out")):
        seconds = {name: timing.seconds(16, 16, 0) for name, timing in found.pools.items()}
        assert seconds == {"student": 8.0, "oracle": 1.6, "teacher": 4.0 * 16 * 5 / 10}
        assert found.teacher_alone.seconds(16, 16, 0) == 4.0 * 16 * 25 / 10
        assert (found.refined, found.file_seconds_per_row) == (0.25, 0.02)
        assert "100 rows, 25 of them refined" in found.source
        assert found.row_bytes == 0.01
    other = spec(tmp_path, image_format="jpeg")
    assert times(other).row_bytes is None, "their bytes say nothing of another format's"


@pytest.mark.usefixtures("_same_files")
def test_records_of_a_ladder_give_seconds_of_a_drawing_and_of_a_step(tmp_path: Path) -> None:
    """160 drawings; 20 refinements of 5 steps and 10 drawings by the teacher in 20."""
    ladder = [
        {"draw": 2, "until": 0.5},
        {"refine": {"strength": 0.6, "steps": 5}, "below": 0.2},
        {"regenerate": {"steps": 20}, "below": 0.2},
    ]
    job = spec(tmp_path, ladder=ladder, teacher_steps=None)
    refinements = [
        {"strategy": strategy, "strength": 0.6, "steps": steps, "through": "latents"}
        for strategy, steps in (("refine", 5), ("regenerate", 20))
    ]
    write_job(tmp_path / "out", job, rungs=[100, 60, 20, 10], refinements=refinements)
    plain = spec(tmp_path, output="elsewhere")
    for one in (job, plain):  # each plans five steps of the teacher's
        found = times(one, measured=tmp_path / "out")
        assert found.student.seconds(16, 16, 0) == 16 * 50.0 / 160
        assert found.oracle.seconds(16, 16, 0) == 16 * 12.5 / 190
        assert found.teacher.seconds(16, 16, 0) == pytest.approx(16 * 100.0 / 30 * 5 / 10)
        assert found.refined == 0.25
        assert "100 rows, 30 pictures by the teacher" in found.source


@pytest.mark.usefixtures("_same_files")
def test_a_pilots_short_batches_count_as_the_full_ones_that_they_took(tmp_path: Path) -> None:
    """A padded batch of 16 with one row took the seconds of 16."""
    job = spec(tmp_path)
    padded = {"student": 112, "oracle": 144, "teacher": 400}
    write_job(tmp_path / "out", job, calls={"teacher": 25}, padded_rows=padded)
    found = times(job)
    assert found.student.seconds(16, 16, 0) == 50.0 / 112 * 16
    assert found.teacher_alone.seconds(16, 16, 0) == 100.0 / 400 * 16 * 25 / 10
    assert "25 of them refined, in 25 calls of the teacher)" in found.source
    write_job(tmp_path / "few", job, calls={"teacher": 2}, padded_rows=padded)
    few = times(job, measured=tmp_path / "few")
    assert "in 2 calls of the teacher; that is few, so take the plan as rough" in few.source


@pytest.mark.usefixtures("_same_files")
def test_a_plan_says_on_which_devices_its_records_were_made(tmp_path: Path) -> None:
    """On others the job takes another time, and the plan cannot know it."""
    job = spec(tmp_path)
    devices = {"student": ["NVIDIA L4"], "oracle": ["CPU, AVX2"], "teacher": ["NVIDIA H200"]}
    write_job(tmp_path / "out", job, devices=devices)
    assert times(job).source.endswith(", on NVIDIA H200 and NVIDIA L4")


@pytest.mark.usefixtures("_same_files")
def test_records_give_seconds_a_picture_where_each_row_was_drawn_several_times(
    tmp_path: Path,
) -> None:
    """The plan asks for four pictures a row itself."""
    job = spec(tmp_path, draws=4)
    write_job(tmp_path / "out", job)
    found = times(job)
    assert found.student.seconds(16, 16, 0) == 50.0 / 400 * 16
    assert found.oracle.seconds(17, 17, 0) == pytest.approx(12.5 / 425 * 17)


@pytest.mark.usefixtures("_same_files")
def test_records_count_for_the_same_models_with_a_controlnet_or_a_lora(tmp_path: Path) -> None:
    """A part's hash is behind that of the pipeline's folder."""
    job = spec(tmp_path)
    write_job(tmp_path / "out", job, model_files="files+controlnet")
    assert times(job).source.startswith("the records of")


@pytest.mark.usefixtures("_same_files")
def test_records_of_other_models_are_refused(tmp_path: Path) -> None:
    write_job(tmp_path / "out", spec(tmp_path))
    other = {"preset": "shapes", "teacher": {"dtype": "float16"}}
    with pytest.raises(SpecError, match="another teacher than this job's: dtype differ"):
        times(spec(tmp_path, models=other))
    fewer_steps = {"preset": "shapes", "student": {"steps": 1, "batch_size": 8}}
    assert times(spec(tmp_path, models=fewer_steps)).student.seconds(8, 8, 0) == 8.0 / 2


def test_records_of_other_files_are_refused(tmp_path: Path) -> None:
    write_job(tmp_path / "out", spec(tmp_path))
    with pytest.raises(SpecError, match="another student than this job's: path differ"):
        times(spec(tmp_path))
