"""What the teacher is to do. Light: it loads without torch, and so does what only plans a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["refine", "regenerate"]
Through = Literal["latents", "pixels"]


@dataclass(frozen=True, slots=True)
class Refinement:
    """What the teacher does with a rejected picture, everything resolved to numbers.

    `strength`: the fraction of the teacher's timesteps to go back (1 for `regenerate`).
    `steps`: network steps really taken. `through`: whether the start is the student's latents
    (both have the same autoencoder) or its pictures.
    """

    strategy: Strategy
    strength: float
    steps: int
    through: Through
