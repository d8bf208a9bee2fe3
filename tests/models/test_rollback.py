"""Where a refinement really starts, by the latents that the network is given first.

With every scheduler of `scheduler.name`, its spacings and its curves: the noise there is what
`actors.models.noise_levels` says, and near to what was asked for. A schedule of few steps has few
levels of noise, and the start is one of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from actors.models.diffusion import Diffusion
from actors.models.noise_levels import most_steps, start_level, start_of, training_levels
from actors.models.schedulers import scheduler_of
from actors.rollback import level_at, strength_for
from actors.settings import SchedulerName
from tests.models.conftest import Folders, Loaded, files_for
from tests.models.test_families import PROMPTS, SEEDS, difference, start_for
from tests.models.test_pairing import job

ROWS = 2
ENDS = ((0.01, 1), (0.99, 1), (1.0, 2))
"""Hardly any noise and nearly all of it, in one step: strengths and steps."""
SPACINGS = ("leading", "trailing", "linspace")
CURVES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
CURVED = ("dpm-multistep", "euler", "heun", "unipc")
FLOWS = ("stable-diffusion-3", "flux", "z-image", "qwen-image")
FLOW: dict[str, tuple[str, dict[str, Any]]] = {
    f"{family}, flow-{name}, {curve or 'even'}": (
        family,
        {"name": f"flow-{name}", "options": {curve: True} if curve else {}},
    )
    for name, curves, families in (
        ("euler", (None, *CURVES), FLOWS),
        ("lcm", (None, *CURVES), FLOWS[:1]),
        ("lcm", (None,), FLOWS[1:]),
        ("heun", (None,), FLOWS[:1]),
    )
    for curve in curves
    for family in families
}
"""Every scheduler of `scheduler.name` for flow matching. Heun's takes no levels, which the other
families' pipelines give."""


class StartedError(Exception):
    """The network was called."""


def schedulers() -> dict[str, dict[str, Any]]:
    """Every scheduler of `scheduler.name` for diffusion, with its spacings and curves."""
    found: dict[str, dict[str, Any]] = {}
    for name in get_args(SchedulerName):
        if name.startswith("flow"):
            continue
        spacings = SPACINGS if name not in ("lcm", "tcd") else SPACINGS[:1]
        for spacing in spacings:
            found[f"{name}, {spacing}"] = {"timestep_spacing": spacing}
        for curve in CURVES if name in CURVED else ():
            found[f"{name}, {curve}"] = {curve: True}
    return {key: {"name": key.split(",")[0], "options": found[key]} for key in found}


DIFFUSION = schedulers()


def first_latents(
    model: Diffusion, start: torch.Tensor, strength: float, steps: int
) -> torch.Tensor:
    """The latents that the network is given first in a refinement."""

    def see(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise StartedError(args[0] if args else kwargs["hidden_states"])

    hook = model.denoiser.register_forward_pre_hook(see, with_kwargs=True)
    try:
        model.refine(PROMPTS[:ROWS], SEEDS[:ROWS], start, strength, steps)
    except StartedError as seen:
        latents = seen.args[0]
    finally:
        hook.remove()
    whole = torch.stack(latents) if isinstance(latents, list) else latents
    # Guidance doubles the rows; a family that is computed row by row shows its first one.
    return model._unpacked(whole)[: 1 if model.family.by_row else ROWS]


def noise_like(start: torch.Tensor) -> torch.Tensor:
    """Each row's own, from its seed."""
    made = [torch.Generator().manual_seed(seed) for seed in SEEDS[:ROWS]]
    return torch.cat([torch.randn(start[:1].shape, generator=one) for one in made])


@pytest.mark.parametrize("scheduler", DIFFUSION)
def test_the_network_starts_at_the_variance_that_is_said(scheduler: str, loaded: Loaded) -> None:
    model = loaded("stable-diffusion-xl", batch_size=ROWS, scheduler=DIFFUSION[scheduler])
    start = start_for(model)[:ROWS]
    for strength, steps in (*ENDS, (0.3, 6), (0.6, 6), (0.9, 6)):
        level = model.start_at(strength, steps).level
        mixed = (1 - level) ** 0.5 * start + level**0.5 * noise_like(start)
        assert difference(first_latents(model, start, strength, steps), mixed) < 1e-5


@pytest.mark.parametrize("scheduler", FLOW)
def test_the_network_starts_at_the_sigma_that_is_said(scheduler: str, loaded: Loaded) -> None:
    name, wanted = FLOW[scheduler]
    model = loaded(name, batch_size=ROWS, scheduler=wanted)
    start = start_for(model)[:ROWS]
    for strength, steps in (*ENDS, (0.1, 6), (0.4, 6), (0.9, 6)):
        level = model.start_at(strength, steps).level
        mixed = (1 - level) * start + level * noise_like(start)
        latents = first_latents(model, start, strength, steps)
        assert difference(latents, mixed[: len(latents)]) < 1e-5


@pytest.mark.parametrize(
    ("name", "fields"),
    [("stable-diffusion-xl", wanted) for wanted in DIFFUSION.values()] + list(FLOW.values()),
    ids=[*DIFFUSION, *FLOW],
)
def test_no_other_schedule_starts_nearer(
    name: str, fields: dict[str, Any], folders: Folders
) -> None:
    """Of all up to 40 steps; beyond, the last six are cleaner than the levels asked for here."""
    files = files_for(folders(name), scheduler=fields)
    family, shape, scheduler = files.family, files.shape, scheduler_of(files)
    levels = training_levels(scheduler, family, shape)
    most = min(40, most_steps(files))
    reached = [start_level(scheduler, family, shape, whole, 6) for whole in range(6, most + 1)]
    for strength in (0.3, 0.6, 0.9):
        wanted = level_at(strength, levels)
        nearest = min(abs(level - wanted) for level in reached)
        start = start_of(files, strength, 6)
        assert abs(start.level - wanted) <= nearest + 1e-6
        assert strength_for(start.level, levels) == start.strength


def test_sdxls_strength_is_where_it_says_with_karras_sigmas(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """diffusers' own image-to-image starts at variance 0.08 here, and not at 0.41."""
    name = "stable-diffusion-xl"
    scheduler = {"name": "dpm-multistep", "options": {"use_karras_sigmas": True}}
    teacher = {"scheduler": scheduler, "steps": 30}
    caplog.set_level("INFO")
    job(folders, tmp_path, name, name, a_teacher=teacher, rollback={"strength": 0.3})
    assert "the rollback is strength 0.3 (variance 0.408); in 9 steps the teacher" in caplog.text
    assert "starts at strength 0.286 (variance 0.385)" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_start_that_the_steps_cannot_reach_is_logged_as_a_warning(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One step of "leading" timesteps is the last one, which is nearly clean."""
    name = "stable-diffusion-xl"
    job(folders, tmp_path, name, name, rollback={"variance": 0.6}, teacher_steps=1)
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "starts at strength 0.002" in warning.getMessage()
