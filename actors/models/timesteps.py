"""Mends three mistakes of diffusers' schedulers: a timestep too many, levels that are no numbers,
and a step that is made twice.

Its "trailing" spacing counts down in floats. For 62 of the numbers up to 1,000 (61, 103, 121, ...)
their rounding adds a last timestep of -1, which the network was not trained on, with the noise of
the last timestep: one step more, and a spoilt picture.

Its `shift_terminal`, as Qwen-Image has it, stretches the noise levels so that the last is small. Of
a single level, which is all noise, it makes 0 / 0: a black picture.

PNDM makes its first step twice, the second time with what the network says at the step's end; so
its schedule has that timestep twice. A refinement enters the schedule behind it, and has it once:
every later step would then be made one level too late, and the noise of the last level would stay.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch


def mend(scheduler: Any) -> None:
    """Change a scheduler of diffusers: as many timesteps as are wanted, and finite levels."""
    if getattr(scheduler.config, "timestep_spacing", None) == "trailing":
        _drop_the_extra_timestep(scheduler)
    if getattr(scheduler.config, "shift_terminal", None):
        _keep_a_single_level(scheduler)
    if hasattr(scheduler, "step_plms"):
        _repeat_only_what_is_there_twice(scheduler)


def _keep_a_single_level(scheduler: Any) -> None:
    """Leave a single level as it is; stretch several."""
    original = scheduler.stretch_shift_to_terminal

    @wraps(original)
    def stretch(levels: Any) -> Any:
        return original(levels) if len(levels) > 1 else levels

    scheduler.stretch_shift_to_terminal = stretch


def _repeat_only_what_is_there_twice(scheduler: Any) -> None:
    """Make the second step with two values of the network, as the third always is."""
    original = scheduler.step_plms

    @wraps(original)
    def step_plms(model_output: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        if scheduler.counter == 1 and (scheduler.timesteps == timestep).sum() < 2:
            scheduler.counter = 2
        return original(model_output, timestep, *args, **kwargs)

    scheduler.step_plms = step_plms


def _drop_the_extra_timestep(scheduler: Any) -> None:
    original = scheduler.set_timesteps

    @wraps(original)
    def set_timesteps(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        timesteps = scheduler.timesteps
        if len(timesteps) < 2 or timesteps[-1] >= 0:
            return
        scheduler.timesteps = timesteps[:-1]
        sigmas = getattr(scheduler, "sigmas", None)
        if sigmas is not None and len(sigmas) == len(timesteps) + 1:
            # The last one, of the finished picture, stays.
            scheduler.sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        scheduler.num_inference_steps = len(scheduler.timesteps)

    scheduler.set_timesteps = set_timesteps
