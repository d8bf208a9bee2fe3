"""Every scheduler that diffusers has draws here, or is refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import diffusers
import pytest
import torch

from actors.errors import ModelError
from actors.models.diffusion import Diffusion
from actors.models.noise_levels import start_of
from actors.models.pairing import fitted
from tests.models.conftest import Folders, files_for, settings_for
from tests.models.test_families import PROMPTS, SEEDS, difference, start_for
from tests.models.test_rollback import ROWS, first_latents, noise_like
from tests.models.tiny import BETAS

ALL = sorted(name for name in dir(diffusers) if name.endswith("Scheduler"))
PLAYGROUND = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "sigma_data": 0.5,
    "sigma_max": 80.0,
    "sigma_min": 0.002,
    "prediction_type": "epsilon",
    "solver_order": 2,
    "final_sigmas_type": "zero",
}
"""The scheduler of playgroundai/playground-v2.5-1024px-aesthetic."""


def with_scheduler(folder: Path, home: Path, config: dict[str, Any]) -> Path:
    """A copy of a pipeline whose folder names another scheduler."""
    copied = Path(copytree(folder, home / "model"))
    (copied / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    index = copied / "model_index.json"
    content = json.loads(index.read_text())
    content["scheduler"] = ["diffusers", config["_class_name"]]
    index.write_text(json.dumps(content))
    return copied


def refusal(call: Callable[..., object], *arguments: object) -> str | None:
    """What a ModelError says; None where none is raised."""
    try:
        call(*arguments)
    except ModelError as error:
        return str(error)
    return None


@pytest.mark.parametrize("family", ["stable-diffusion-xl", "flux"])
@pytest.mark.parametrize("name", ALL)
def test_a_scheduler_of_diffusers_draws_or_is_refused_in_a_sentence(
    name: str, family: str, folders: Folders, tmp_path: Path
) -> None:
    betas = BETAS if family == "stable-diffusion-xl" else {}
    folder = with_scheduler(folders(family), tmp_path, {"_class_name": name, **betas})
    settings = settings_for(folder, batch_size=1, steps=3)
    said = refusal(lambda: fitted(files_for(folder, batch_size=1, steps=3)))
    if said is not None:
        assert said.endswith(".")
        assert "\n" not in said
        return
    model = Diffusion(settings)
    assert torch.isfinite(model.draw(PROMPTS[:1], SEEDS[:1], 3)).all()
    said = refusal(start_of, files_for(folder), 0.6, 3)
    if said is not None:
        assert "it only draws from noise" in said
        return
    start = start_for(model)[:1]
    assert torch.isfinite(model.refine(PROMPTS[:1], SEEDS[:1], start, 0.6, 3)).all()


def test_playgrounds_scheduler_draws_and_refines_as_diffusers_does(
    folders: Folders, tmp_path: Path
) -> None:
    """EDM's latents are half as wide as others, and its timesteps are logarithms."""
    folder = with_scheduler(folders("stable-diffusion-xl"), tmp_path, PLAYGROUND)
    model = Diffusion(settings_for(folder, batch_size=ROWS))
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    plain = pipe(
        PROMPTS[1],
        generator=torch.Generator().manual_seed(SEEDS[1]),
        num_inference_steps=3,
        guidance_scale=3.0,
        width=32,
        height=32,
        output_type="latent",
    ).images
    assert difference(model.draw(PROMPTS[:2], SEEDS[:2], 3)[1:], plain) < 1e-3
    start = start_for(model)[:ROWS]
    for strength in (0.3, 0.6, 0.9):
        level = model.start_at(strength, 6).level
        mixed = (1 - level) ** 0.5 * start / 0.5 + level**0.5 * noise_like(start)
        assert difference(first_latents(model, start, strength, 6), mixed) < 1e-4
    levels = [model.start_at(strength, 15).level for strength in (0.2, 0.4, 0.6, 0.8)]
    assert levels == sorted(set(levels))


@pytest.mark.parametrize(
    ("family", "config", "said"),
    [
        (
            "stable-diffusion-xl",
            {"_class_name": "DDIMScheduler", "beta_schedule": "wavy"},
            "DDIMScheduler of diffusers .* cannot be made: wavy is",
        ),
        (
            "stable-diffusion-xl",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "for flow matching, and this model is one of diffusion.*dpm-multistep",
        ),
        (
            "flux",
            {"_class_name": "DDIMScheduler"},
            "for diffusion, and this model is one of flow matching.*flow-euler",
        ),
        (
            "flux",
            {"_class_name": "FlowMatchHeunDiscreteScheduler"},
            "gives levels of noise, which this scheduler does not take",
        ),
        ("stable-diffusion-xl", {"_class_name": "DDIMInverseScheduler"}, "its timesteps rise"),
        ("stable-diffusion-xl", {"_class_name": "RePaintScheduler"}, "its step needs original"),
        ("stable-diffusion-xl", {"_class_name": "NoScheduler"}, "diffusers .* has no scheduler"),
        ("sana-sprint", {"_class_name": "LCMScheduler"}, "takes SCMScheduler and no other"),
    ],
)
def test_a_scheduler_that_cannot_drive_a_model_is_refused(
    family: str, config: dict[str, Any], said: str, folders: Folders, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        fitted(files_for(with_scheduler(folders(family), tmp_path, config)))


def test_steps_that_a_scheduler_cannot_make_are_refused(folders: Folders) -> None:
    wanted = {"scheduler": {"name": "lcm"}, "steps": 60}
    with pytest.raises(ModelError, match=r"LCMScheduler cannot drive .* it makes no 60 steps"):
        fitted(files_for(folders("stable-diffusion"), **wanted))
