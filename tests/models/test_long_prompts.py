"""Prompts longer than CLIP reads, in windows: for the families whose prompts CLIP alone reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from actors.errors import ModelError
from actors.models.diffusion import Diffusion
from actors.models.long_prompts import LongPrompts
from actors.models.pairing import fitted
from actors.models.prompt_cuts import of_pipeline
from tests.models.conftest import Folders, Loaded, files_for, settings_for
from tests.models.test_families import PROMPTS, SEEDS, difference, start_for

READ_IN_WINDOWS = ["stable-diffusion", "stable-diffusion-xl", "sdxl-refiner"]
FULL = "a " * 30
"""As many tokens as a window has room for, of the small tokenizers that are tried here."""


def made(model: Diffusion, prompts: list[str], negatives: list[str] | None = None) -> torch.Tensor:
    rows = len(prompts)
    if model._draws:
        return model.draw(prompts, SEEDS[:rows], 3, negatives=negatives)
    start = start_for(model)[:rows]
    return model.refine(prompts, SEEDS[:rows], start, 0.6, 3, negatives=negatives)


@pytest.mark.parametrize("name", READ_IN_WINDOWS)
def test_one_window_is_what_diffusers_reads(name: str, folders: Folders) -> None:
    """Of the same network and the same noise, with and without negative prompts."""
    model = Diffusion(settings_for(folders(name), batch_size=2))
    for negatives in (None, ["blue", ""]):
        model._long_prompts = None
        plain = made(model, PROMPTS[:2], negatives)
        model._long_prompts = LongPrompts(model.pipe, 1, model.device)
        assert difference(made(model, PROMPTS[:2], negatives), plain) < 1e-4


@pytest.mark.parametrize("name", READ_IN_WINDOWS)
def test_words_behind_the_first_window_count_and_neighbours_do_not(
    name: str, loaded: Loaded
) -> None:
    model, plain = loaded(name, batch_size=2, prompt_windows=2), loaded(name, batch_size=2)
    long, other = FULL + "red ring", FULL + "blue cat"
    one, two = made(model, [long, "dog"]), made(model, [other, "dog"])
    assert not torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1]), "a long prompt beside it changes no row"
    assert torch.equal(made(model, [long]), one[:1])
    assert torch.equal(made(plain, [long]), made(plain, [other])), "diffusers reads no further"
    with_it, without = (made(model, ["dog"], [FULL + last]) for last in ("red", "blue"))
    assert not torch.equal(with_it, without), "of a negative prompt too"
    beyond = FULL + FULL + "red"
    assert torch.equal(made(model, [beyond]), made(model, [FULL + FULL + "blue"]))
    assert model.truncated(["a", long, beyond]) == (2,)
    assert plain.truncated(["a", long, beyond]) == (1, 2)


def test_a_plan_knows_how_much_is_read(folders: Folders) -> None:
    reader = of_pipeline(files_for(folders("stable-diffusion"), prompt_windows=3))
    assert reader.cut(["a", FULL * 3, FULL * 3 + "a"]) == (2,)


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("stable-diffusion-3", {}, "prompt_windows: .* is not read by CLIP alone"),
        ("flux", {}, "prompt_windows: .* is not read by CLIP alone"),
        ("instruct-pix2pix", {}, "prompt_windows: .* is not read by CLIP alone"),
    ],
)
def test_other_families_are_refused(
    name: str, fields: dict[str, Any], said: str, folders: Folders
) -> None:
    with pytest.raises(ModelError, match=said):
        fitted(files_for(folders(name), prompt_windows=2, **fields))


@pytest.mark.parametrize("fields", [{"offload": "model"}, {"clip_skip": 1}])
def test_what_has_no_effect_beside_windows_is_refused(folders: Folders, fields: Any) -> None:
    with pytest.raises(ValidationError, match="prompt_windows and"):
        settings_for(folders("stable-diffusion-xl"), prompt_windows=2, **fields)
