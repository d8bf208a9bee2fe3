"""Editing and control: the fields of the job file, and the conditioning of the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.errors import SpecError
from actors.refinement import Conditioning, DrawPlan
from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call
from jobs.execution.cascade import Cascade
from jobs.execution.executor import Task
from jobs.execution.stages import STAGES, Stage
from jobs.identity import identity_of
from jobs.refinement import planned_refinement
from jobs.rules import Rules
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.task import conditioning_of
from tests.unit.jobs.local import local_job
from tests.unit.jobs.reading import only_part

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


def test_the_conditioning_of_each_task() -> None:
    edit = spec(task="edit", image_column="i", edit={"strength": 0.7}, strategy="regenerate")
    conditioning = conditioning_of(edit.task, edit.edit, edit.control)
    assert conditioning == Conditioning("edit", strength=0.7)
    refinement = planned_refinement(edit)
    assert (refinement.strength, refinement.conditioning) == (0.7, conditioning)
    control = spec(
        task="control", image_column="i", models=CONTROLLED, control={"preprocess": "canny"}
    )
    assert planned_refinement(control).conditioning == Conditioning("control", canny=(100, 200))
    assert planned_refinement(control).strength == 0.6
    assert planned_refinement(spec()).conditioning is None
    whole = spec(task="edit", image_column="i", image_fit="stretch")
    assert planned_refinement(whole).conditioning == Conditioning(
        "edit", strength=0.8, fit="stretch"
    )


def test_every_drawing_counts(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a\nb\n")
    one, four = (local_job(tmp_path / "p.txt", tmp_path / "o", draws=n) for n in (1, 4))
    assert four.student_nfe == 4 * one.student_nfe
    assert four.teacher_nfe == one.teacher_nfe
    assert four.draw_plan == DrawPlan(4)
    assert four.rules(0.5).draws == 4
    assert identity_of(four) != identity_of(one)


def test_the_oracle_gets_the_target_and_the_models_get_the_instruction(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("prompt,target,picture\nmake it red,a red car,1.png\nadd snow,,2.png\n")
    part = only_part(file, task="edit", image_column="picture", target_column="target")
    assert part.targets == ["a red car", ""]
    assert part.invalid_rows == {1: "the prompt is empty"}
    owner = ActivePart(
        part, Cascade(2, Rules.pair(threshold=0.5, student_batch=2, teacher_batch=2))
    )
    actors = [stage for stage, info in STAGES.items() if info.method]
    texts = {stage: Task(owner, Call(stage, (0,))).arguments[0] for stage in actors}
    assert texts[Stage.DRAW] == texts[Stage.REFINE] == ["make it red"]
    assert texts[Stage.SCORE_DRAWN] == texts[Stage.SCORE_REFINED] == ["a red car"]


@pytest.mark.parametrize(
    ("fields", "negatives"),
    [
        ({}, None),
        ({"negative_prompt": "blurry"}, ["blurry", "blurry", "blurry"]),
        ({"negative_prompt_column": "not"}, ["dark", "", ""]),
        ({"negative_prompt_column": "not", "negative_prompt": "blurry"}, ["dark", "", "blurry"]),
    ],
)
def test_a_rows_negative_prompt_is_its_own_or_the_jobs(
    fields: dict[str, Any], negatives: list[str] | None, tmp_path: Path
) -> None:
    """A null is the job's; an empty text is the row's own."""
    file = tmp_path / "p.jsonl"
    file.write_text(
        '{"prompt": "a", "not": "dark"}\n{"prompt": "b", "not": ""}\n{"prompt": "c", "not": null}\n'
    )
    part = only_part(file, **fields)
    assert part.negatives == negatives
    owner = ActivePart(
        part, Cascade(3, Rules.pair(threshold=0.5, student_batch=3, teacher_batch=2))
    )
    for stage, reads in ((Stage.DRAW, True), (Stage.REFINE, True), (Stage.SCORE_DRAWN, False)):
        wanted = [negatives[2], negatives[0]] if negatives and reads else None
        assert Task(owner, Call(stage, (2, 0))).negatives == wanted
