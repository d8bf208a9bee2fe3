"""Where a refinement really starts, by the network's first inputs: its noise and its latents.

A schedule of few steps has few levels of noise, and the start is one of them. So what was asked for
is met within the schedule's own spacing there:

- Flow matching: the level that was asked for lies between the neighbours of the real one. The start
  is the step above it, by the schedule of 1,000 steps; a short one bends towards clean pictures in
  Stable Diffusion 3 (its last step is nearly clean) and Qwen-Image (its `shift_terminal`).
- Diffusion with "leading" timesteps, as Stable Diffusion and SDXL have them: up to two spacings
  cleaner than what was asked for, and never noisier. A step begins at the clean end of its share of
  the schedule, which is one spacing; and the number of steps is rounded down.
- Diffusion with "trailing" timesteps: one spacing, as the first of these reasons is not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from actors.models.diffusion import Diffusion
from tests.models.conftest import Folders, Loaded
from tests.models.test_families import PROMPTS, SEEDS, difference, start_for
from tests.models.test_pairing import job

FLOW = {
    "stable-diffusion-3": lambda t: t / 1000,
    "flux": lambda t: t,
    "z-image": lambda t: 1 - t,
    "qwen-image": lambda t: t,
}
"""From the timestep that the network is given to the noise level, sigma."""
ROWS = 2


def first_call(
    model: Diffusion, start: torch.Tensor, strength: float, steps: int
) -> tuple[float, torch.Tensor]:
    """The timestep and the latents that the network is given first in a refinement."""
    calls: list[tuple[Any, Any]] = []

    def see(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = list(args) + [kwargs.get(name) for name in ("hidden_states", "timestep")]
        latents, timestep = [one for one in given if one is not None][:2]
        calls.append((latents, timestep))

    hook = model.denoiser.register_forward_pre_hook(see, with_kwargs=True)
    try:
        model.refine(PROMPTS[:ROWS], SEEDS[:ROWS], start, strength, steps)
    finally:
        hook.remove()
    latents, timestep = calls[0]
    whole = torch.stack(latents) if isinstance(latents, list) else latents
    # Guidance doubles the rows; a family that is computed row by row shows its first one.
    rows = 1 if model.family.by_row else ROWS
    return float(torch.as_tensor(timestep).flatten()[0]), model._unpacked(whole)[:rows]


def noise_like(start: torch.Tensor) -> torch.Tensor:
    """Each row's own, from its seed."""
    made = [torch.Generator().manual_seed(seed) for seed in SEEDS[:ROWS]]
    return torch.cat([torch.randn(start[:1].shape, generator=one) for one in made])


@pytest.mark.parametrize("steps", [5, 15])
@pytest.mark.parametrize("sigma", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", FLOW)
def test_a_sigma_is_where_the_network_starts(
    name: str, sigma: float, steps: int, folders: Folders, loaded: Loaded, tmp_path: Path
) -> None:
    plan = job(folders, tmp_path, name, name, rollback={"sigma": sigma}, teacher_steps=steps)
    model = loaded(name, batch_size=ROWS)
    start = start_for(model)[:ROWS]
    timestep, latents = first_call(model, start, plan.refinement.strength, plan.refinement.steps)
    real = FLOW[name](timestep)
    levels = model.pipe.scheduler.sigmas.tolist()
    place = min(range(len(levels)), key=lambda at: abs(levels[at] - real))
    assert levels[place] == pytest.approx(real, abs=1e-5)
    assert levels[place + 1] < sigma < levels[max(0, place - 1)]
    assert len(levels) - 1 - place == steps
    mixed = (1 - real) * start + real * noise_like(start)
    assert difference(latents, mixed[: len(latents)]) < 1e-5


@pytest.mark.parametrize("steps", [5, 15])
@pytest.mark.parametrize("variance", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(("spacing", "most"), [("leading", 2), ("trailing", 1)])
@pytest.mark.parametrize("name", ["stable-diffusion", "stable-diffusion-xl"])
def test_a_variance_is_where_the_network_starts(
    name: str,
    spacing: str,
    most: int,
    variance: float,
    steps: int,
    folders: Folders,
    loaded: Loaded,
    tmp_path: Path,
) -> None:
    """most: how many spacings of the schedule the start may be cleaner than `variance`."""
    scheduler = {"options": {"timestep_spacing": spacing}}
    plan = job(
        folders,
        tmp_path,
        name,
        name,
        a_teacher={"scheduler": scheduler},
        rollback={"variance": variance},
        teacher_steps=steps,
    ).refinement
    model = loaded(name, scheduler=scheduler, batch_size=ROWS)
    start = start_for(model)[:ROWS]
    timestep, latents = first_call(model, start, plan.strength, plan.steps)
    variances = 1 - model.pipe.scheduler.alphas_cumprod
    timesteps = model.pipe.scheduler.timesteps.long().tolist()
    place = timesteps.index(int(timestep))
    real = float(variances[timesteps[place]])
    above = place - most
    noisiest = float(variances[timesteps[above]]) if above >= 0 else 1.0
    assert real - 0.002 < variance < noisiest, "0.002: between two of 1,000 timesteps"
    assert len(timesteps) - place == steps
    mixed = (1 - real) ** 0.5 * start + real**0.5 * noise_like(start)
    assert difference(latents, mixed) < 1e-5
