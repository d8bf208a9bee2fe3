"""Schedulers that are entered partway, driven by a network that knows the noise.

Each step of it is exact, whatever the scheduler's order, so the last one arrives at the picture. It
does not where a step is made at another level than the network was told.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import diffusers
import pytest
import torch

from actors.models.schedulers import CLASSES, OURS
from actors.models.timesteps import mend

PICTURE, NOISE = (torch.tensor([[[[value]]]]).double() for value in (0.7, -1.1))
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
BY_SIGMA = {"euler", "euler-ancestral", "heun"}
"""Their latents are picture + sigma * noise; all others' have the width of a picture."""
DISTILLED = {"lcm", "tcd"}
"""They add new noise after each step."""
STEPS = 20
CASES = [
    (name, spacing)
    for name in CLASSES
    for spacing in ("leading", "trailing", "linspace")
    if not name.startswith("flow")
    and name not in DISTILLED
    # It counts back by a fixed number of timesteps, in a whole schedule too.
    and (name, spacing) != ("pndm", "linspace")
]


@pytest.mark.parametrize(("name", "spacing"), CASES)
def test_the_last_steps_of_a_schedule_end_at_the_picture(name: str, spacing: str) -> None:
    kind = getattr(diffusers, CLASSES[name])
    options: dict[str, Any] = {**BETAS, **OURS.get(CLASSES[name], {}), "timestep_spacing": spacing}
    if "set_alpha_to_one" in signature(kind.__init__).parameters:
        options["set_alpha_to_one"] = True  # the last step ends without noise
    scheduler = kind(**options)
    mend(scheduler)
    scheduler.set_timesteps(STEPS)
    begin = STEPS // 2 * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    timesteps = scheduler.timesteps[begin:]
    latents = scheduler.add_noise(PICTURE, NOISE, timesteps[:1])
    for timestep in timesteps:
        noise = noise_in(latents, scheduler, timestep, begin, name in BY_SIGMA)
        scheduler.scale_model_input(latents, timestep)
        latents = scheduler.step(noise, timestep, latents).prev_sample
    assert abs(latents - PICTURE).item() < 1e-5


def noise_in(
    latents: torch.Tensor, scheduler: Any, timestep: Any, begin: int, by_sigma: bool
) -> torch.Tensor:
    """What a network says that is told this level, and knows the picture."""
    if hasattr(scheduler, "sigmas"):
        place = begin if scheduler.step_index is None else scheduler.step_index
        sigma = scheduler.sigmas[place].double()
        if by_sigma:
            return (latents - PICTURE) / sigma
        width = (1 + sigma**2).sqrt()
        return (latents * width - PICTURE) / sigma
    kept = scheduler.alphas_cumprod[int(timestep)].double()
    return (latents - kept.sqrt() * PICTURE) / (1 - kept).sqrt()
