"""The task of a job: it draws from prompts, edits pictures, or draws under a ControlNet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from actors.refinement import Conditioning, Fit
from actors.settings import ModelSettings
from actors.strict import Settings

JobTask = Literal["generate", "edit", "control"]


class Edit(Settings):
    """How `task: edit` starts from a row's picture."""

    strength: float = Field(
        default=0.8,
        ge=0.05,
        le=1,
        description="The fraction of the timesteps that the row's picture is noised to, for the "
        "student, and for a teacher that regenerates. Less keeps more of it.",
    )


class Control(Settings):
    """How `task: control` prepares a row's picture for the ControlNet."""

    preprocess: Literal["none", "canny"] = Field(
        default="none",
        description="none: the column holds the ControlNet's own input (edges, depth, segments); "
        "canny: it holds photographs, and the job finds their edges.",
    )
    low: int = Field(default=100, ge=0, le=1000, description="Canny's lower threshold.")
    high: int = Field(default=200, ge=0, le=1000, description="Canny's upper threshold.")

    @model_validator(mode="after")
    def _in_order(self) -> Control:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.preprocess == "none" and {"low", "high"} & self.model_fields_set:
            raise ValueError("low and high go with preprocess: canny")
        return self


def check_task(
    task: JobTask,
    image_column: str | None,
    image_fit: Fit | None,
    target_column: str | None,
    edit: Edit | None,
    control: Control | None,
    models: ModelSettings,
) -> None:
    """Refuse fields that contradict the task. Raises ValueError that begins with the field."""
    if (task == "generate") != (image_column is None):
        if image_column is None:
            raise ValueError(f"image_column: task: {task} needs it; name the column of pictures")
        raise ValueError("image_column: it goes with task: edit or task: control")
    if image_fit is not None and task == "generate":
        raise ValueError("image_fit: it goes with task: edit or task: control")
    if target_column is not None and task != "edit":
        raise ValueError(f"target_column: it goes with task: edit, and this is task: {task}")
    for name, given in (("edit", edit), ("control", control)):
        if given is not None and task != name:
            raise ValueError(f"{name}: it goes with task: {name}, and this is task: {task}")
    if models.timed:
        return
    for role, model in (("student", models.student), ("teacher", models.teacher)):
        if (task == "control") != (model.controlnet is not None):
            needs = "needs one" if task == "control" else "has no use for one"
            raise ValueError(f"models.{role}.controlnet: task: {task} {needs}")
    scheduler = models.student.scheduler
    if task == "edit" and scheduler and scheduler.timesteps:
        raise ValueError(
            "models.student.scheduler.timesteps: they are of a whole drawing, and an edit starts "
            "partway"
        )


def conditioning_of(
    task: JobTask, edit: Edit | None, control: Control | None, fit: Fit | None = None
) -> Conditioning | None:
    """How student and teacher use the rows' pictures; None where the task has none."""
    if task == "edit":
        return Conditioning("edit", strength=(edit or Edit()).strength, fit=fit or "crop")
    if task == "control":
        settings = control or Control()
        canny = (settings.low, settings.high) if settings.preprocess == "canny" else None
        return Conditioning("control", canny=canny, fit=fit or "crop")
    return None
