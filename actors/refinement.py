"""The tasks of student and teacher, in numbers. Imports no torch, so that a plan starts fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["refine", "regenerate"]
Through = Literal["latents", "pixels"]
Fit = Literal["crop", "stretch"]


@dataclass(frozen=True, slots=True)
class Conditioning:
    """How the models use a row's own picture; a row of `task: generate` has none.

    `task`: edit starts from the row's picture, noised to `strength` (SDEdit, arXiv 2108.01073);
    control draws from noise and shows the picture to a ControlNet (arXiv 2302.05543). `canny`: the
    two thresholds of Canny's edge detector, for a ControlNet of edges and photographs; None shows
    the picture itself. `fit`: how a picture of another aspect ratio gets the model's.
    """

    task: Literal["edit", "control"]
    strength: float = 1.0
    canny: tuple[int, int] | None = None
    fit: Fit = "crop"


Size = tuple[int, int]
"""Width and height of a picture, in pixels."""


@dataclass(frozen=True, slots=True)
class RowOptions:
    """What a row may have of its own. Rows that share a batch have the same.

    `canvas`: the size that it is drawn in; `guidance_scale`. None for the model's.
    """

    canvas: Size | None = None
    guidance_scale: float | None = None


SAME_FOR_ALL = RowOptions()


@dataclass(frozen=True, slots=True)
class DrawPlan:
    """The student's task for a prompt: `draws` pictures of it.

    `size`: of the dataset's pictures, where the student draws them in another. `options`: of the
    rows of a call.
    """

    draws: int = 1
    conditioning: Conditioning | None = None
    size: Size | None = None
    first: int = 0
    """Number of the first one among all drawings of a row: each has its own noise."""
    options: RowOptions = SAME_FOR_ALL


FROM_PROMPTS = DrawPlan()
"""One picture of each prompt, from the prompt alone."""


@dataclass(frozen=True, slots=True)
class Refinement:
    """The teacher's task for a rejected picture, everything resolved to numbers.

    `strength`: the fraction of the teacher's timesteps to go back (1 for `regenerate`).
    `steps`: network steps really taken. `through`: whether the start is the student's latents
    (both have the same autoencoder) or its pictures. `size`: as the `DrawPlan`'s.
    `start`: the noise that a refinement really starts at (`actors.models.noise_levels`), for
    people; None where nothing is loaded.
    """

    strategy: Strategy
    strength: float
    steps: int
    through: Through
    conditioning: Conditioning | None = None
    size: Size | None = None
    start: float | None = None
    attempt: int = 0
    """Number among the teacher's attempts at a row: each has its own noise."""
    options: RowOptions = SAME_FOR_ALL
