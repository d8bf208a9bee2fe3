"""Rows with pictures and sizes of their own: as models make them that have this size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from actors.errors import ModelError
from actors.models.pairing import fitted
from actors.refinement import Conditioning, DrawPlan, Refinement, RowOptions
from tests.models.conftest import Folders, files_for
from tests.models.rows import IMAGES, PROMPTS, SEEDS, student_of, teacher_of
from tests.models.test_editors import ONE_EACH, fields_of, images, side
from tests.models.test_editors import few_pixels as few_pixels  # of Qwen-Image-Edit's pipelines
from tests.models.tiny import controlnet

CONTROL, EDIT = Conditioning("control"), Conditioning("edit", 0.8)
NEGATIVES = ["blue", ""]


def same_in_both(
    folder: Path,
    size: tuple[int, int],
    conditioning: Conditioning,
    shown: list[bytes],
    strategies: tuple[str, ...] = (),
    **fields: Any,
) -> None:
    """A model of another size makes the rows of this size as one that was loaded for it."""
    width, height = size
    options = RowOptions((width, height))
    there = {**fields, "width": width, "height": height}
    drawn = [
        student_of(folder, plan, **settings).draw(
            PROMPTS[:2], SEEDS[:2], shown[:2], negatives=NEGATIVES
        )
        for plan, settings in (
            (DrawPlan(1, conditioning, options=options), fields),
            (DrawPlan(1, conditioning), there),
        )
    ]
    (latents, pictures, _), (other_latents, other_pictures, _) = drawn
    assert pictures.shape == (2, height, width, 3)
    assert torch.equal(latents, other_latents)
    assert (pictures == other_pictures).all()
    for strategy in strategies:
        made = [
            teacher_of(folder, plan, **settings).refine(
                *(PROMPTS[:2], SEEDS[:2], [(0, 0), (0, 1)], latents),
                images=shown[:2],
                negatives=NEGATIVES,
            )[0]
            for plan, settings in (
                (Refinement(strategy, 0.6, 3, "latents", conditioning, options=options), fields),  # type: ignore[arg-type]
                (Refinement(strategy, 0.6, 3, "latents", conditioning), there),  # type: ignore[arg-type]
            )
        ]
        assert made[0].shape == (2, height, width, 3)
        assert (made[0] == made[1]).all()


@pytest.mark.parametrize("name", ["stable-diffusion", "flux"])
def test_a_controlled_row_has_its_own_size(name: str, folders: Folders, tmp_path: Path) -> None:
    network = controlnet(folders(name), tmp_path / "net")
    led = {"controlnet": {"path": str(network)}}
    same_in_both(folders(name), (48, 32), CONTROL, IMAGES, ("refine", "regenerate"), **led)


def test_an_edited_row_has_its_own_size(folders: Folders) -> None:
    same_in_both(folders("stable-diffusion"), (48, 32), EDIT, IMAGES, ("refine", "regenerate"))


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_row_that_is_edited_by_an_instruction_has_its_own_size(
    name: str, folders: Folders
) -> None:
    tall = (side(name), side(name) * 3 // 2)
    same_in_both(folders(name), tall, Conditioning("edit"), images(name), **fields_of(name))


@pytest.mark.parametrize("name", ["stable-diffusion-xl", "stable-diffusion-3"])
def test_more_layers_than_clip_has_are_not_left_out(name: str, folders: Folders) -> None:
    """The tiny encoders have two layers: one can be left out, and the text is that of the first."""
    fitted(files_for(folders(name), clip_skip=1))
    with pytest.raises(
        ModelError, match=r"clip_skip: 2, and the text encoders of .* have 2 layers"
    ):
        fitted(files_for(folders(name), clip_skip=2))


def test_an_autoencoder_of_another_latent_space_is_refused_before_anything_starts(
    folders: Folders,
) -> None:
    """SD3's has 16 channels, and the UNet of SD1 reads 4: it failed in the first batch."""
    other = {"vae": {"path": str(folders("stable-diffusion-3") / "vae")}}
    with pytest.raises(ModelError, match=r"vae: .* makes latents of 16 channels.* of 4: it is one"):
        fitted(files_for(folders("stable-diffusion"), **other))
    fitted(files_for(folders("flux"), **other))


def test_a_denoiser_of_another_model_is_refused_before_anything_starts(folders: Folders) -> None:
    """SDXL's UNet reads wider text than that of SD1, and SD3's transformer is none."""
    for other, said in (
        ("stable-diffusion-xl/unet", "has the cross_attention_dim 64, .* is 32"),
        ("stable-diffusion-3/transformer", "has the class_name 'SD3Transformer2DModel'"),
    ):
        pipeline, part = other.split("/")
        network = {"denoiser": {"path": str(folders(pipeline) / part)}}
        with pytest.raises(ModelError, match=f"denoiser: .* {said}"):
            fitted(files_for(folders("stable-diffusion"), **network))
