"""How much noise a teacher's schedule has at each of its timesteps.

Imports diffusers, which takes seconds; from the scheduler's file alone, no weights are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from actors.models.families import Noise, Shape, family_of
from actors.models.folders import check_folder
from actors.models.roles import model_shape
from actors.models.schedulers import noise_levels, scheduler_in
from actors.settings import DiffusionSettings

MIXING: dict[Noise, str] = {
    "diffusion": "x = sqrt(1-v) x0 + sqrt(v) z",
    "flow": "flow matching, x = (1-s) x0 + s z",
    "angle": "x = cos(a) x0 + sin(a) z",
}


@dataclass(frozen=True)
class Schedule:
    """Of a pipeline with its scheduler, drawing pictures of one shape."""

    noise: Noise
    scheduler: Any
    folder: Path
    shape: Shape

    @property
    def mixing(self) -> str:
        """The rule by which picture and noise are mixed."""
        return MIXING[self.noise]

    @property
    def num_timesteps(self) -> int:
        """Timesteps that it was trained with."""
        return int(self.scheduler.config.num_train_timesteps)

    @cached_property
    def levels(self) -> list[float]:
        """At each training timestep, the cleanest first: the variance, or the sigma of a flow."""
        return noise_levels(self.scheduler, family_of(self.folder), self.shape)


def schedule_of(settings: DiffusionSettings, folder: Path | None = None) -> Schedule:
    """The schedule of a model; `folder` is its own, if it has been checked. Raises ModelError."""
    folder = folder or check_folder(settings)
    scheduler = scheduler_in(folder, settings.scheduler)
    return Schedule(family_of(folder).noise, scheduler, folder, model_shape(settings, folder))
