"""Settings that only some of diffusers' calls have: handed over as they are, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from actors.errors import ModelError
from actors.models.pairing import fitted
from actors.models.pipeline_files import open_pipeline_files
from actors.settings import TeacherSettings
from tests.models.conftest import Folders, Loaded, files_for, settings_for
from tests.models.test_families import PROMPTS, SEEDS, difference, plain_arguments


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("stable-diffusion", {"guidance_rescale": 0.7}),
        ("stable-diffusion-xl", {"clip_skip": 1}),
        ("stable-diffusion-xl", {"guidance_rescale": 0.7}),
        ("stable-diffusion-3", {"clip_skip": 1}),
    ],
)
def test_an_option_of_the_call_is_diffusers_own(
    name: str, option: dict[str, Any], folders: Folders, loaded: Loaded
) -> None:
    fitted(files_for(folders(name), **option))
    ours = loaded(name, batch_size=2, **option).draw(PROMPTS[:2], SEEDS[:2], 3)
    pipe: Any = DiffusionPipeline.from_pretrained(folders(name))
    pipe.set_progress_bar_config(disable=True)
    plain = pipe(
        PROMPTS[1],
        generator=torch.Generator().manual_seed(SEEDS[1]),
        num_inference_steps=3,
        width=32,
        height=32,
        **plain_arguments(name),
        **option,
    ).images
    assert difference(ours[1:], plain) < 1e-3
    without = loaded(name, batch_size=2).draw(PROMPTS[:2], SEEDS[:2], 3)
    assert difference(ours, without) > 1e-3, "it changes something"


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("stable-diffusion", {"clip_skip": 1}, "clip_skip: diffusers cannot leave out layers"),
        ("flux", {"clip_skip": 1}, "clip_skip: FluxPipeline of diffusers"),
        ("sana", {"guidance_rescale": 0.5}, "guidance_rescale: SanaPipeline of diffusers"),
    ],
)
def test_an_option_that_a_pipeline_does_not_have_is_refused(
    name: str, option: dict[str, Any], said: str, folders: Folders
) -> None:
    with pytest.raises(ModelError, match=said):
        fitted(files_for(folders(name), **option))


def test_a_teacher_needs_the_option_in_image_to_image_too(folders: Folders) -> None:
    settings = settings_for(folders("stable-diffusion"), guidance_rescale=0.7).model_dump()
    with pytest.raises(ModelError, match="guidance_rescale: StableDiffusionImg2ImgPipeline"):
        fitted(open_pipeline_files(TeacherSettings(**settings)))
