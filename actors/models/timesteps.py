"""As many timesteps as were asked for, and each a number: two mistakes of diffusers' schedulers.

Its "trailing" spacing counts down in floats. For 62 of the numbers up to 1,000 (61, 103, 121, ...)
their rounding adds a last timestep of -1, at which the network knows nothing and the noise is taken
for that of the last timestep: a step more, and a spoilt picture.

Its `shift_terminal`, as Qwen-Image has it, stretches the noise levels so that the last is small. Of
a single level, which is all noise, it makes 0 / 0: a black picture.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch


def mend(scheduler: Any) -> None:
    """Change a scheduler of diffusers: as many timesteps as are asked for, and finite ones."""
    _keep_to_the_number(scheduler)
    if getattr(scheduler.config, "shift_terminal", None):
        _stretch_only_many(scheduler)


def _stretch_only_many(scheduler: Any) -> None:
    """A single level stays what it is."""
    original = scheduler.stretch_shift_to_terminal

    @wraps(original)
    def stretch(levels: Any) -> Any:
        return original(levels) if len(levels) > 1 else levels

    scheduler.stretch_shift_to_terminal = stretch


def _keep_to_the_number(scheduler: Any) -> None:
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
