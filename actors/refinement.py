"""What student and teacher are to do. Light: it loads without torch, and so does a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["refine", "regenerate"]
Through = Literal["latents", "pixels"]
Fit = Literal["crop", "stretch"]


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the pictures of the input are for; a row of `task: generate` has none.

    `task`: edit starts from the row's picture, noised to `strength` (SDEdit, arXiv 2108.01073);
    control draws from noise and hands the picture to a ControlNet (arXiv 2302.05543). `canny`: the
    two thresholds of its edges, where the picture is a photograph and the network knows edges.
    `fit`: how a picture of another shape is brought to the model's.
    """

    task: Literal["edit", "control"]
    strength: float = 1.0
    canny: tuple[int, int] | None = None
    fit: Fit = "crop"


@dataclass(frozen=True, slots=True)
class DrawPlan:
    """What the student does with a prompt: `draws` pictures of it."""

    draws: int = 1
    given: Conditioning | None = None


FROM_PROMPTS = DrawPlan()
"""One picture of each prompt, from the prompt alone."""


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
    given: Conditioning | None = None
