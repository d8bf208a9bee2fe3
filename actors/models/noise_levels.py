"""How much noise a scheduler's steps have, and which of them a refinement starts at.

A refinement takes the last steps of a whole schedule. The number of steps of that schedule is free:
here it is chosen so that the first of the last steps has the noise that was asked for. Everything
is asked of diffusers' scheduler itself (`set_timesteps`, `add_noise`), since its spacing, its
Karras, exponential or beta sigmas and its shift all move the levels.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

import numpy as np
import torch

from actors.errors import ModelError
from actors.models.families import Family, Shape
from actors.models.pipeline_files import PipelineFiles
from actors.models.schedulers import scheduler_of, size_shift
from actors.models.timesteps import mend
from actors.rollback import NoiseSchedule, level_at, strength_for
from actors.settings import DiffusionSettings

CURVES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
"""Options of schedulers that move the levels of a schedule and leave the training's as they are."""

WINDOW = 4
"""Schedules on each side of the place that bisection finds which are tried too: by the rounding of
timesteps, one step more is now and then a little noisier instead of cleaner."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a refinement really starts.

    `whole_steps`: of the schedule whose last steps it takes. `level`: the noise there, in the terms
    of `actors.rollback.MIXING`; `strength`: the fraction of the timesteps that has this noise.
    """

    whole_steps: int
    level: float
    strength: float


def schedule_of(pipeline: PipelineFiles[DiffusionSettings]) -> NoiseSchedule:
    """The schedule of a model that draws pictures of its settings' size. Raises ModelError."""
    family, scheduler = pipeline.family, scheduler_of(pipeline)
    mixes = hasattr(scheduler, "scale_noise" if family.noise == "flow" else "add_noise")
    is_read = family.refines and mixes
    levels = training_levels(scheduler, family, pipeline.shape) if is_read else []
    return NoiseSchedule(family.noise, int(scheduler.config.num_train_timesteps), levels)


def most_steps(pipeline: PipelineFiles[DiffusionSettings]) -> int:
    """The most steps that a model's scheduler can make; an LCM's are those it was trained at."""
    return _most_steps(scheduler_of(pipeline))


def start_of(pipeline: PipelineFiles[DiffusionSettings], strength: float, steps: int) -> Start:
    """The start of `steps` steps whose noise is nearest to that of `strength`.

    strength: the fraction of the training timesteps, in (0, 1]. Raises ModelError where the
    scheduler makes no schedule of so many steps.
    """
    scheduler, family, shape = scheduler_of(pipeline), pipeline.family, pipeline.shape
    return nearest_start(scheduler, family, shape, strength, steps)


def nearest_start(
    scheduler: Any, family: Family, shape: Shape, strength: float, steps: int
) -> Start:
    """The same for a scheduler. It calls `set_timesteps` of it."""
    mix = "scale_noise" if family.noise == "flow" else "add_noise"
    if not hasattr(scheduler, mix):
        raise ModelError(
            f"scheduler {type(scheduler).__name__} has no {mix}: it only draws from noise. Choose "
            "another `scheduler`, or set strategy: regenerate (in a ladder, a rung `regenerate`)."
        )
    levels = training_levels(scheduler, family, shape)
    mend(scheduler)
    wanted, even, most = level_at(strength, levels), steps / strength, _most_steps(scheduler)
    if steps > most:
        raise ModelError(
            f"{steps} steps: {type(scheduler).__name__} has at most {most}. Take fewer."
        )

    @cache
    def level(whole: int) -> float:
        return start_level(scheduler, family, shape, whole, steps)

    # The more steps the whole schedule has, the cleaner is the start of its last `steps`.
    wholes = range(steps, most + 1)
    place = bisect_left(wholes, -wanted, key=lambda whole: -level(whole))
    near = wholes[max(0, place - WINDOW) : place + WINDOW]
    # Of the same level to 6 digits, the schedule that is spaced most like an even one.
    whole = min(near, key=lambda n: (round(abs(level(n) - wanted), 6), abs(n - even)))
    return Start(whole, level(whole), strength_for(level(whole), levels))


def start_level(scheduler: Any, family: Family, shape: Shape, whole: int, steps: int) -> float:
    """The noise at the start of the last `steps` of `whole` steps, as diffusers mixes it in."""
    begin = set_steps(scheduler, family, shape, whole, steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    timestep = scheduler.timesteps[begin : begin + 1]
    one, none = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    if family.noise == "flow":
        noise = scheduler.scale_noise(none, timestep, one)
        return float(noise / (noise + scheduler.scale_noise(one, timestep, none)))
    noise = scheduler.add_noise(none, one, timestep)
    # EDM's latents are this wide where all others' are 1.
    picture = scheduler.add_noise(one, none, timestep) * scheduler.config.get("sigma_data", 1.0)
    return float(noise**2 / (noise**2 + picture**2))


def set_steps(scheduler: Any, family: Family, shape: Shape, whole: int, steps: int) -> int:
    """Call `set_timesteps` as the family's pipeline does for the last `steps` of `whole` steps.

    Returns the place of the first of them. An editor's pipeline is given them alone
    (`Diffusion._from_latents`); image-to-image makes all of them and skips some.
    """
    if not family.gives_sigmas:
        scheduler.set_timesteps(whole, **size_shift(scheduler, family, shape))
        return int((whole - steps) * scheduler.order)
    sigmas = even_sigmas(whole)[whole - steps if family.instructed else 0 :]
    scheduler.set_timesteps(sigmas=sigmas, **size_shift(scheduler, family, shape))
    return 0 if family.instructed else whole - steps


def even_sigmas(steps: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The levels that diffusers' flow-matching pipelines give to their schedulers."""
    return np.linspace(1.0, 1 / steps, steps)


def training_levels(scheduler: Any, family: Family, shape: Shape) -> list[float]:
    """The noise at each training timestep, the cleanest first.

    A scheduler without such timesteps (EDM's) has those of its own longest schedule in their place.
    """
    if family.noise == "diffusion" and hasattr(scheduler, "alphas_cumprod"):
        return [float(1 - a) for a in scheduler.alphas_cumprod]
    off = {name: False for name in CURVES if scheduler.config.get(name)}
    even, count = type(scheduler).from_config(scheduler.config, **off), _most_steps(scheduler)
    if family.noise == "diffusion":
        even.set_timesteps(count)
        width = even.config.get("sigma_data", 1.0)
        squares = even.sigmas[:count].double().flip(0) ** 2
        return [float(s / (s + width**2)) for s in squares]
    if "sigmas" in signature(even.set_timesteps).parameters:
        even.set_timesteps(sigmas=even_sigmas(count), **size_shift(even, family, shape))
    else:
        even.set_timesteps(count)
    sigmas = {float(sigma) for sigma in even.sigmas[:-1]}  # Heun's are there twice.
    return sorted(sigmas)


def _most_steps(scheduler: Any) -> int:
    config = scheduler.config
    trained, known = config["num_train_timesteps"], config.get("original_inference_steps")
    return int(min(trained, known or trained))
