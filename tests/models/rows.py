"""Rows with pictures of their own, and a student and a teacher to make something of them."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from actors.refinement import DrawPlan, Refinement
from actors.settings import StudentSettings, TeacherSettings
from actors.student import Student
from actors.teacher import Teacher
from tests.models.conftest import settings_for

PROMPTS = ["a cat", "a very long red boat", "dog"]
SEEDS = [5, 6, 7]


def picture(seed: int, side: int = 32) -> Image.Image:
    """Smooth enough that neighbouring pixels are alike."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


IMAGES = [png(picture(seed)) for seed in SEEDS]


def student_of(folder: Path, plan: DrawPlan, **fields: Any) -> Student:
    settings = settings_for(folder, **{"batch_size": 4, **fields})
    return with_plan(Student(StudentSettings(**settings.model_dump())), plan)


def teacher_of(folder: Path, plan: Refinement, **fields: Any) -> Teacher:
    settings = settings_for(folder, **{"batch_size": 4, **fields})
    return with_plan(Teacher(TeacherSettings(**settings.model_dump())), plan)


Planned = TypeVar("Planned", Student, Teacher)


def with_plan(actor: Planned, plan: DrawPlan | Refinement) -> Planned:
    """The actor, which gets this plan with each call."""
    name = "draw" if isinstance(actor, Student) else "refine"
    setattr(actor, name, partial(getattr(actor, name), plan=plan))
    return actor


def worst(ours: torch.Tensor, theirs: list[torch.Tensor]) -> float:
    return max(float((one - other[0]).abs().max()) for one, other in zip(ours, theirs, strict=True))
