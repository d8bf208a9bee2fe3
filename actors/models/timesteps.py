"""As many timesteps as were asked for.

diffusers' "trailing" spacing counts down in floats. For 62 of the numbers up to 1,000 (61, 103,
121, ...) their rounding adds a last timestep of -1, at which the network knows nothing and the
noise is taken for that of the last timestep: a step more, and a spoilt picture.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch


def keep_to_the_number(scheduler: Any) -> None:
    """Change a scheduler of diffusers so that `set_timesteps` leaves a timestep of -1 out."""
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
