"""Rows with pictures of their own, and a student and a teacher to make something of them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

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


def student_of(folder: Path, draw_plan: DrawPlan, **fields: Any) -> Student:
    settings = settings_for(folder, **{"batch_size": 4, **fields})
    return Student(StudentSettings(**settings.model_dump()), draw_plan)


def teacher_of(folder: Path, refinement: Refinement, **fields: Any) -> Teacher:
    settings = settings_for(folder, **{"batch_size": 4, **fields})
    return Teacher(TeacherSettings(**settings.model_dump()), refinement)


def worst(ours: torch.Tensor, theirs: list[torch.Tensor]) -> float:
    return max(float((one - other[0]).abs().max()) for one, other in zip(ours, theirs, strict=True))
