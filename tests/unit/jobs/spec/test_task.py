"""Editing and control: what the job file says of them, and the pictures in the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import SpecError
from actors.refinement import Conditioning, DrawPlan
from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call, Stage
from jobs.execution.cascade import Cascade
from jobs.execution.executor import Task
from jobs.identity import identity_of
from jobs.input.prompts import Part
from jobs.refinement import planned_refinement
from jobs.rules import Rules
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.task import conditioning_of, folder_of
from tests.unit.jobs.local import local_job
from tests.unit.jobs.reading import only_part, refusal

NETWORK = {"controlnet": {"path": "canny"}}
CONTROLLED = {"preset": "shapes", "student": NETWORK, "teacher": NETWORK}


def spec(**fields: Any) -> JobSpec:
    return make_spec({"input": "p.parquet", "output": "out", "models": "shapes", **fields})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"task": "edit"}, "image_column: task: edit needs it"),
        ({"image_column": "image"}, "image_column: it goes with task: edit or task: control"),
        ({"image_fit": "crop"}, "image_fit: it goes with task: edit or task: control"),
        ({"target_column": "t"}, "target_column: it goes with task: edit"),
        ({"edit": {"strength": 0.5}}, "edit: it goes with task: edit, and this is task: generate"),
        (
            {"task": "edit", "image_column": "i", "control": {}},
            "control: it goes with task: control, and this is task: edit",
        ),
        (
            {"task": "control", "image_column": "i"},
            "models.student.controlnet: task: control needs one",
        ),
        (
            {"task": "control", "image_column": "i", "models": {**CONTROLLED, "teacher": {}}},
            "models.teacher.controlnet: task: control needs one",
        ),
        ({"models": CONTROLLED}, "models.student.controlnet: task: generate has no use for one"),
        (
            {
                "task": "edit",
                "image_column": "i",
                "models": {
                    "preset": "shapes",
                    "student": {"steps": 2, "scheduler": {"timesteps": [999, 499]}},
                },
            },
            "models.student.scheduler.timesteps: they are of a whole drawing",
        ),
        (
            {
                "task": "control",
                "image_column": "i",
                "models": CONTROLLED,
                "control": {"preprocess": "canny", "low": 300},
            },
            "control: low 300 is above high 200",
        ),
        (
            {"task": "control", "image_column": "i", "models": CONTROLLED, "control": {"low": 9}},
            "control: low and high go with preprocess: canny",
        ),
        ({"draws": 0}, "draws: input should be greater than or equal to 1"),
    ],
)
def test_fields_that_contradict_the_task_are_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(**fields)
    assert why in str(caught.value)


def test_what_student_and_teacher_are_told() -> None:
    edit = spec(task="edit", image_column="i", edit={"strength": 0.7}, strategy="regenerate")
    given = conditioning_of(edit.task, edit.edit, edit.control)
    assert given == Conditioning("edit", strength=0.7)
    refinement = planned_refinement(edit)
    assert (refinement.strength, refinement.given) == (0.7, given)
    control = spec(
        task="control", image_column="i", models=CONTROLLED, control={"preprocess": "canny"}
    )
    assert planned_refinement(control).given == Conditioning("control", canny=(100, 200))
    assert planned_refinement(control).strength == 0.6
    assert planned_refinement(spec()).given is None
    whole = spec(task="edit", image_column="i", image_fit="stretch")
    assert planned_refinement(whole).given == Conditioning("edit", strength=0.8, fit="stretch")


def test_every_drawing_counts(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a\nb\n")
    one, four = (local_job(tmp_path / "p.txt", tmp_path / "o", draws=n) for n in (1, 4))
    assert four.student_nfe == 4 * one.student_nfe
    assert four.teacher_nfe == one.teacher_nfe
    assert four.draw_plan == DrawPlan(4)
    assert four.rules(0.5).draws == 4
    assert identity_of(four) != identity_of(one)


# ---- the pictures of the input


def with_images(folder: Path, images: pa.Array) -> Path:
    file = folder / "p.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "picture": images}), file)
    return file


EDIT = {"task": "edit", "image_column": "picture"}


def images_of(part: Part) -> list[bytes | str | None]:
    """Of the rows that have one."""
    assert part.images is not None
    rows = range(part.table.num_rows)
    return [None if row in part.invalid_rows else part.images[row] for row in rows]


def test_pictures_come_as_bytes_as_paths_and_as_hugging_face_has_them(tmp_path: Path) -> None:
    here, elsewhere = str(tmp_path / "one.png"), "/data/two.png"
    raw = pa.array([b"1", None, b""])
    part = only_part(with_images(tmp_path, raw), **EDIT)
    assert images_of(part) == [b"1", None, None]
    assert part.invalid_rows == {1: "the picture is null", 2: "the picture is empty"}
    paths = pa.array(["one.png", elsewhere, "https://example.org/three.png"])
    part = only_part(with_images(tmp_path, paths), **EDIT)
    assert images_of(part) == [here, elsewhere, None]
    assert "is no path of this machine. Mount or copy it" in part.invalid_rows[2]
    odd = pa.array(["~lock.png", "a\0b", ""])
    part = only_part(with_images(tmp_path, odd), **EDIT)
    assert images_of(part) == [str(tmp_path / "~lock.png"), None, None]
    structs = pa.array(
        [
            {"bytes": b"1", "path": "one.png"},
            {"bytes": None, "path": "one.png"},
            {"bytes": None, "path": None},
        ],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    part = only_part(with_images(tmp_path, structs), **EDIT)
    assert images_of(part) == [b"1", here, None]
    assert part.invalid_rows == {2: "the picture is null"}
    assert part.table.column("picture").to_pylist()[0]["bytes"] == b"1", "it stays in the dataset"


def test_a_struct_of_other_things_holds_no_pictures(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.list_(pa.uint8())), ("path", pa.string())])
    told = refusal(with_images(tmp_path, pa.array([None] * 3, kind)), **EDIT)
    assert "and must hold bytes or paths of pictures" in told


def test_a_column_of_numbers_holds_no_pictures(tmp_path: Path) -> None:
    file = with_images(tmp_path, pa.array([1, 2, 3]))
    told = refusal(file, **EDIT)
    assert "image_column 'picture'" in told
    assert "holds int64, and must hold bytes or paths of pictures" in told
    assert "image_column 'image' is not in" in refusal(file, task="edit", image_column="image")


def test_the_oracle_is_told_the_target_and_the_models_the_instruction(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("prompt,target,picture\nmake it red,a red car,1.png\nadd snow,,2.png\n")
    part = only_part(file, **EDIT, target_column="target")
    assert part.targets == ["a red car", ""]
    assert part.invalid_rows == {1: "the prompt is empty"}
    owner = ActivePart(part, Cascade(2, Rules(threshold=0.5, student_batch=2, teacher_batch=2)))
    told = {stage: Task(owner, Call(stage, (0,))).prompts for stage in Stage}
    assert told[Stage.DRAW] == told[Stage.REFINE] == ["make it red"]
    assert told[Stage.SCORE_DRAWN] == told[Stage.SCORE_REFINED] == ["a red car"]


def test_without_a_task_a_row_has_no_picture(tmp_path: Path) -> None:
    assert only_part(with_images(tmp_path, pa.array([b"1", b"2", b"3"]))).images is None


def test_paths_are_relative_to_the_folder_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "p.csv").touch()
    for pattern in ("", "p.csv", "*.csv", "*/p.csv", "**/more/*.csv"):
        assert folder_of(str(tmp_path / pattern)) == tmp_path, pattern
    assert folder_of(str(tmp_path / "some/[a-z]/p.csv")) == tmp_path / "some"
    odd = tmp_path / "set[1]"
    odd.mkdir()
    (odd / "p.csv").touch()
    assert folder_of(str(odd / "p.csv")) == odd
