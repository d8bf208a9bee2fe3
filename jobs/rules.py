"""The rules by which a job decides about each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of a whole job, fixed before its first part starts."""

    threshold: float
    student_batch: int
    teacher_batch: int
    strategy: Literal["refine", "regenerate"] = "refine"
    through: Literal["latents", "pixels"] = "latents"
    keep: Literal["teacher", "best"] = "teacher"
    save_student: bool = False
    draws: int = 1
    """Pictures that the student draws of each row: row n of a DRAW has places n * draws and on."""
    max_attempts: int = 3
    """Times that a call may fail before the cascade halves it, or fails its only row."""
