"""Rows of other sizes and with other guidance: as models draw them that were loaded for these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from actors.errors import ModelError, SpecError
from actors.models.diffusion import Diffusion
from actors.refinement import SAME_FOR_ALL, DrawPlan, Refinement, RowOptions
from tests.models.conftest import Folders, Loaded, files_for
from tests.models.rows import student_of, teacher_of
from tests.models.test_families import DRAWING, PROMPTS, REFINING, SEEDS
from tests.models.test_pairing import job

WIDE = RowOptions((48, 32), 5.0)
AS_LOADED = {"width": 48, "height": 32, "guidance_scale": 5.0}


@pytest.mark.parametrize("name", sorted({*DRAWING, *REFINING}))
def test_a_row_of_another_size_is_that_of_a_model_of_that_size(name: str, loaded: Loaded) -> None:
    """To the bit; and a row of the model's own size afterwards is what it was before."""
    width = 64 if name.startswith("sana") else 48  # which takes multiples of 32
    model = loaded(name, batch_size=2)
    other = loaded(name, batch_size=2, **{**AS_LOADED, "width": width})
    prompts, seeds = PROMPTS[:2], SEEDS[:2]
    channels = other.pipe.vae.config.get("latent_channels") or other.pipe.vae.config.get("z_dim")
    start = torch.randn(2, channels, 16, 24, generator=torch.Generator().manual_seed(3))

    def made(by: Diffusion) -> list[torch.Tensor]:
        drawn = [by.draw(prompts, seeds, 3)] if name in DRAWING else []
        refined = [by.refine(prompts, seeds, start, 0.6, 3)] if name in REFINING else []
        return [*drawn, *refined]

    before = model.draw(prompts, seeds, 3) if name in DRAWING else None
    model.adopt(RowOptions((width, 32), 5.0))
    try:
        for ours, theirs in zip(made(model), made(other), strict=True):
            assert torch.equal(ours, theirs)
        pictures = np.random.default_rng(0).integers(0, 256, (2, 32, width, 3), dtype=np.uint8)
        assert torch.equal(model.encode(pictures), other.encode(pictures))
    finally:
        model.adopt(SAME_FOR_ALL)
    if before is not None:
        assert torch.equal(model.draw(prompts, seeds, 3), before)


def test_actors_draw_in_the_size_and_with_the_guidance_of_a_call(folders: Folders) -> None:
    folder = folders("stable-diffusion")
    student = student_of(folder, DrawPlan())
    wide, usual = DrawPlan(options=WIDE), DrawPlan()
    latents, pictures, _ = student.draw(PROMPTS[:2], SEEDS[:2], plan=wide)
    assert pictures.shape == (2, 32, 48, 3)
    again, square, _ = student.draw(PROMPTS[:2], SEEDS[:2], plan=usual)
    assert square.shape == (2, 32, 32, 3)
    scaled, _, _ = student.draw(
        PROMPTS[:2], SEEDS[:2], plan=DrawPlan(options=RowOptions(guidance_scale=5.0))
    )
    assert scaled.shape == again.shape
    assert not torch.equal(scaled, again)
    plan = Refinement("refine", 0.6, 3, "latents", options=WIDE)
    teacher = teacher_of(folder, plan)
    refined, _ = teacher.refine(PROMPTS[:2], SEEDS[:2], [(0, 0), (0, 1)], latents)
    assert refined.shape == (2, 32, 48, 3)
    through = Refinement("refine", 0.6, 3, "pixels", options=WIDE)
    refined, _ = teacher.refine(PROMPTS[:2], SEEDS[:2], [(0, 0), (0, 1)], pictures, plan=through)
    assert refined.shape == (2, 32, 48, 3)


def test_a_size_that_a_model_cannot_draw_is_refused_by_its_name(
    folders: Folders, tmp_path: Path
) -> None:
    """Whichever of the sizes it is: 34 pixels are no multiple of 4."""
    name = "stable-diffusion-3"
    own = {"width": None, "height": None}
    for sizes, said in (
        (["32x32", "34x32"], "sizes: 34x32: width: 34 pixels is not a multiple of 4"),
        (["34x32", "32x32"], "width: 34 pixels is not a multiple of 4"),
    ):
        with pytest.raises((ModelError, SpecError), match=said):
            job(
                folders, tmp_path, name, name,
                a_student=own, a_teacher=own, sizes=sizes, size_column="prompt",
            )  # fmt: skip


@pytest.mark.parametrize("name", ["sana", "sana-sprint"])
def test_sana_takes_multiples_of_32(name: str, folders: Folders) -> None:
    """Its pipeline asks for them whatever its autoencoder is: at the first batch, without this."""
    with pytest.raises(ModelError, match=r"width: 48 pixels is not a multiple of 32.*Try 64\."):
        _ = files_for(folders(name), width=48).shape


def test_where_noise_shifts_with_the_size_each_size_has_a_start_of_its_own(
    folders: Folders, tmp_path: Path
) -> None:
    """FLUX's scheduler has more noise in a larger picture; the steps stay the same."""
    own = {"width": None, "height": None, "scheduler": {"options": {"use_dynamic_shifting": True}}}
    found = job(
        folders, tmp_path, "flux", "flux",
        a_student=own, a_teacher={**own, "steps": 20},
        sizes=["32x32", "128x128"], size_column="prompt", rollback={"sigma": 0.7},
    )  # fmt: skip
    usual, large = found.refinements[0], found.refinements_in[128, 128][0]
    assert usual.steps == large.steps
    assert usual.start == pytest.approx(0.7, abs=0.05)
    assert large.start == pytest.approx(0.7, abs=0.05)
    assert usual.strength > large.strength
    plan = found.plan_of(1, RowOptions((128, 128)))
    assert isinstance(plan, Refinement)
    assert (plan.strength, plan.options.canvas) == (large.strength, (128, 128))
    assert found.plan_of(1, SAME_FOR_ALL) == usual
