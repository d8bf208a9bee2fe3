"""Refuses schedulers that cannot drive a model, by their class and configuration alone.

diffusers has some fifty schedulers, many for one pipeline only. Whatever a model's folder or a job
names either works here or is refused before an actor starts.
"""

from __future__ import annotations

from inspect import Parameter, signature
from math import isfinite
from typing import Any

import torch

from actors.counted import counted
from actors.errors import ModelError, said_by
from actors.models.families import Family
from actors.models.noise_levels import set_steps
from actors.models.pipeline_files import PipelineFiles
from actors.models.schedulers import REFUSALS, scheduler_of
from actors.settings import DiffusionSettings

EXAMPLES = {"diffusion": "dpm-multistep", "flow": "flow-euler"}
"""A scheduler that can drive a family, by how the family mixes noise."""

PREDICTIONS = frozenset({"epsilon", "flow_prediction", "sample", "v_prediction"})
"""What a network may predict; a scheduler of diffusers that meets another raises at each step."""

GIVEN = 3
"""Arguments that every pipeline gives to `step`: the network's output, the timestep, the sample."""


def check_scheduler(pipeline: PipelineFiles[DiffusionSettings]) -> None:
    """Refuse a scheduler that cannot drive the pipeline's family. Raises ModelError."""
    scheduler, family = scheduler_of(pipeline), pipeline.family
    why = _why_not(scheduler, family) or _why_no_timesteps(scheduler, pipeline)
    if why:
        other = EXAMPLES.get(family.noise)
        raise ModelError(
            f"scheduler {type(scheduler).__name__} cannot drive {pipeline.settings.path!r} "
            f"({family.name}): {why}. "
            + (
                f"Choose another, for example `scheduler: {{name: {other}}}`."
                if other
                else "Leave `scheduler` out."
            )
        )


def _why_not(scheduler: Any, family: Family) -> str | None:
    config, name = scheduler.config, type(scheduler).__name__
    is_flow = hasattr(scheduler, "scale_noise") or config.get("use_flow_sigmas")
    predicted = config.get("prediction_type", "epsilon")
    if family.noise != "angle" and predicted not in PREDICTIONS:
        return f"its prediction_type is {predicted!r}, and none of {', '.join(sorted(PREDICTIONS))}"
    if family.noise == "angle" and name != "SCMScheduler":
        return "it takes SCMScheduler and no other"
    if family.noise == "diffusion" and is_flow:
        return "it is for flow matching, and this model is one of diffusion"
    if family.noise == "flow" and not is_flow:
        return "it is for diffusion, and this model is one of flow matching"
    if family.noise == "diffusion" and not hasattr(scheduler, "scale_model_input"):
        return "it has no scale_model_input"
    if not hasattr(scheduler, "step"):
        return "it has no step"
    taken = signature(scheduler.set_timesteps).parameters
    if family.gives_sigmas and not {"sigmas", "mu"} <= taken.keys():
        return "its pipeline gives levels of noise, which this scheduler does not take"
    more = [
        parameter.name
        for parameter in list(signature(scheduler.step).parameters.values())[GIVEN:]
        if parameter.default is Parameter.empty
        and parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    ]
    if more:
        return f"its step needs {more[0]}, which no text-to-image pipeline gives"
    return _why_no_levels(scheduler)


def _why_no_levels(scheduler: Any) -> str | None:
    """Of one that has them: the share of the picture, not of noise, at each timestep."""
    levels = getattr(scheduler, "alphas_cumprod", None)
    if levels is None:
        return None
    found, timesteps = [float(level) for level in levels], scheduler.config.num_train_timesteps
    if len(found) != timesteps:
        return f"it has {len(found)} levels of noise for {timesteps} timesteps"
    if not all(0 <= level <= 1 for level in found):
        return "its levels of noise are no numbers from 0 to 1"
    return None


def _why_no_timesteps(scheduler: Any, pipeline: PipelineFiles[DiffusionSettings]) -> str | None:
    steps = pipeline.settings.steps
    wanted = pipeline.settings.scheduler
    if wanted and wanted.timesteps:
        return None  # It is given them.
    if pipeline.family.noise == "angle":
        return None  # Its one scheduler has its own steps.
    try:
        set_steps(scheduler, pipeline.family, pipeline.shape, steps, steps)
        timesteps = [float(timestep) for timestep in scheduler.timesteps]
        if not all(map(isfinite, timesteps)):
            # A schedule that is stretched to end at shift_terminal has none of a single step.
            return f"its timesteps in {counted(steps, 'step')} are no numbers; take more steps"
        # The values that it meets first in a step.
        latents = torch.zeros(1, 1, 2, 2)
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(latents, scheduler.timesteps[0])
        scheduler.step(latents, scheduler.timesteps[0], latents)
    except REFUSALS as error:
        return f"it makes no {steps} steps: {said_by(error)}"
    if timesteps != sorted(timesteps, reverse=True):
        return "its timesteps rise: it adds noise instead of taking it away"
    return None
