"""Negative prompts: as diffusers reads them, row by row, where a model is guided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from actors.errors import SpecError
from actors.student import Student
from tests.models.conftest import Folders, Loaded, settings_for
from tests.models.test_families import PROMPTS, SEEDS, difference, plain_arguments, start_for
from tests.models.test_pairing import job

NEGATIVES = ["blue", "", "a dog, a mat"]
GUIDED = ["stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "sana", "z-image",
          "qwen-image"]  # fmt: skip


@pytest.mark.parametrize("name", GUIDED)
def test_a_negative_prompt_is_diffusers_own_and_the_rows(
    name: str, folders: Folders, loaded: Loaded
) -> None:
    model = loaded(name, batch_size=4)
    ours = model.draw(PROMPTS[:3], SEEDS[:3], 3, negatives=NEGATIVES)
    pipe: Any = DiffusionPipeline.from_pretrained(folders(name))
    pipe.set_progress_bar_config(disable=True)
    for row in (0, 2):
        plain = pipe(
            PROMPTS[row],
            generator=torch.Generator().manual_seed(SEEDS[row]),
            num_inference_steps=3,
            width=32,
            height=32,
            **{**plain_arguments(name), "negative_prompt": NEGATIVES[row]},
        ).images
        assert difference(ours[row : row + 1], model._unpacked(plain)) < 1e-3
    other = model.draw(PROMPTS[:3], SEEDS[:3], 3, negatives=["", "", "a dog, a mat"])
    assert torch.equal(ours[1:], other[1:]), "the neighbours' do not count"
    assert not torch.equal(ours[0], other[0])
    if model.family.refines:
        start = start_for(model)[:2]
        with_it, without = (
            model.refine(PROMPTS[:2], SEEDS[:2], start, 0.6, 3, negatives=[first, ""])
            for first in ("blue", "")
        )
        assert not torch.equal(with_it[0], without[0])
        assert torch.equal(with_it[1], without[1])


@pytest.mark.parametrize(("name", "scale"), [("flux", 3.0), ("stable-diffusion", 1.0)])
def test_a_model_without_guidance_reads_none(name: str, scale: float, loaded: Loaded) -> None:
    model = loaded(name, batch_size=2, guidance_scale=scale)
    with_them, without = (
        model.draw(PROMPTS[:2], SEEDS[:2], 2, negatives=negatives)
        for negatives in (["blue", "red"], None)
    )
    assert torch.equal(with_them, without)


def test_actors_read_the_negative_prompts_of_their_rows(folders: Folders) -> None:
    """Also in slots, and for each of a row's drawings."""
    settings = settings_for(folders("stable-diffusion"), batch_size=4)
    student = Student(settings)  # type: ignore[arg-type]
    latents, _, _ = student.draw(PROMPTS[:2], SEEDS[:2], negatives=["blue", "red"])
    again, _, _ = student.draw(PROMPTS[1:2], SEEDS[1:2], slots=[1], negatives=["red"])
    assert torch.equal(latents[1:], again)


def test_a_job_says_who_reads_its_negative_prompt(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "stable-diffusion"
    caplog.set_level("INFO")
    job(folders, tmp_path, name, name, a_student={"guidance_scale": 1}, negative_prompt="blue")
    assert "the negative prompts are read by the teacher" in caplog.text
    unguided = {"guidance_scale": 1}
    with pytest.raises(SpecError, match="negative_prompt: neither student nor teacher is guided"):
        job(
            folders,
            tmp_path,
            name,
            name,
            a_student=unguided,
            a_teacher=unguided,
            negative_prompt="blue",
        )
