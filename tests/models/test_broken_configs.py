"""Configurations that make no network and no scheduler: a sentence, before the start."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from actors.errors import ModelError
from actors.models.model_files import open_model_files
from actors.models.presets import PRESETS

SHAPES = PRESETS["shapes"]
SCHEDULER, UNET, VAE, TEXT, TOKENIZER = (
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    copytree(SHAPES.teacher.path, tmp_path / "teacher")
    return tmp_path / "teacher"


def look(folder: Path) -> None:
    teacher = SHAPES.teacher.model_copy(update={"path": str(folder)})
    open_model_files(SHAPES.model_copy(update={"teacher": teacher}), ["refine"], "generate")


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        (SCHEDULER, {"num_train_timesteps": "many"}),
        (SCHEDULER, {"num_train_timesteps": None}),
        (SCHEDULER, {"num_train_timesteps": -5}),
        (SCHEDULER, {"num_train_timesteps": 10**12}),
        (SCHEDULER, {"beta_schedule": "mine"}),
        (SCHEDULER, {"beta_start": "x"}),
        (SCHEDULER, {"beta_start": float("nan")}),
        (SCHEDULER, {"beta_start": 5, "beta_end": 6}),
        (SCHEDULER, {"trained_betas": [0.1]}),
        (SCHEDULER, {"trained_betas": "x"}),
        (SCHEDULER, {"prediction_type": "mine"}),
        (SCHEDULER, {"_class_name": None}),
        (SCHEDULER, {"_class_name": "EDMNothing"}),
        (UNET, {"block_out_channels": 5}),
        (UNET, {"block_out_channels": ["a"]}),
        (UNET, {"block_out_channels": []}),
        (UNET, {"in_channels": None}),
        (UNET, {"sample_size": "x"}),
        (UNET, {"sample_size": 0}),
        (VAE, {"latent_channels": [4]}),
        (VAE, {"scaling_factor": "x"}),
        (VAE, {"scaling_factor": 0}),
        (VAE, {"scaling_factor": float("inf")}),
        (VAE, {"shift_factor": float("nan")}),
        (VAE, {"_class_name": 5}),
        (TEXT, {"hidden_size": "x"}),
        (TOKENIZER, {"model_max_length": "x"}),
        (TOKENIZER, {"added_tokens_decoder": 5}),
        (TOKENIZER, {"pad_token": 5}),
        ("model_index.json", {"unet": ["diffusers", "Nope"]}),
        ("model_index.json", {"unet": [None, None]}),
    ],
)
def test_a_configuration_that_makes_nothing_is_refused(
    teacher: Path, file: str, fields: dict[str, Any]
) -> None:
    content = json.loads((teacher / file).read_text())
    (teacher / file).write_text(json.dumps({**content, **fields}))
    with pytest.raises(ModelError) as caught:
        look(teacher)
    said = str(caught.value)
    assert str(teacher) in said
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize("content", [None, "", '{"version": "1.0"}', "[]"])
def test_a_tokenizer_that_is_not_whole_is_refused(teacher: Path, content: str | None) -> None:
    file = teacher / "tokenizer/tokenizer.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer.*cannot be loaded: .*Copy the model again\."):
        look(teacher)


def test_the_untouched_model_is_taken(teacher: Path) -> None:
    look(teacher)
