"""Configurations that make no network and no scheduler: a sentence, before the start."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch

from actors.errors import ModelError
from actors.models.bounded_memory import bounded
from actors.models.model_files import open_model_files
from actors.models.network_checks import check_oracle
from actors.models.oracles.oracle_files import open_oracle_files
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
        (UNET, {"in_channels": 0}),
        (UNET, {"in_channels": 10**9}),
        (UNET, {"layers_per_block": 10**9}),
        (UNET, {"sample_size": 10**9}),
        (UNET, {"norm_eps": {}}),
        (UNET, {"mid_block_scale_factor": "x"}),
        (UNET, {"freq_shift": float("nan")}),
        (UNET, {"_diffusers_version": "x"}),
        (UNET, {"quantization_config": {}}),
        (VAE, {"in_channels": 10**9}),
        (TEXT, {"vocab_size": 10**12}),
        (TEXT, {"num_hidden_layers": 10**9}),
        (TEXT, {"dtype": ["foo"]}),
        (TEXT, {"hidden_size": -1}),
        (TEXT, {"max_position_embeddings": 0}),
        (SCHEDULER, {"num_train_timesteps": 10**9}),
        ("model_index.json", {"tokenizer": "x"}),
        ("model_index.json", {"image_encoder": {}}),
        ("model_index.json", {"requires_safety_checker": "x"}),
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


@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": 5},
        {"text_config": {"vocab_size": 10**12}},
        {"text_config": {"hidden_size": 0}},
        {"vision_config": {"image_size": 10**9}},
        {"vision_config": {"num_hidden_layers": 10**9}},
        {"vision_config": 5},
        {"image_text_hidden_size": float("nan")},
    ],
)
def test_an_oracles_configuration_that_makes_nothing_is_refused(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    folder = copytree(SHAPES.oracle.path, tmp_path / "oracle")
    content = json.loads((folder / "config.json").read_text())
    for name, value in fields.items():
        inner = isinstance(value, dict)
        content[name] = {**content[name], **value} if inner else value
    (folder / "config.json").write_text(json.dumps(content))
    oracle = SHAPES.oracle.model_copy(update={"path": str(folder)})
    with pytest.raises(ModelError) as caught:
        check_oracle(open_oracle_files(oracle))
    said = str(caught.value)
    assert str(folder) in said
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize(
    "fields",
    [
        {"resample": 2.5},
        {"rescale_factor": [1]},
        {"size": {"height": "x", "width": 64}},
        {"size": {"height": 16_000, "width": 16_000}},  # 3 GB, which the machine has
    ],
)
def test_what_shows_an_oracle_no_picture_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    folder = copytree(SHAPES.oracle.path, tmp_path / "oracle")
    content = json.loads((folder / "processor_config.json").read_text())
    content["image_processor"] |= fields
    (folder / "processor_config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="cannot load the oracle"):
        check_oracle(open_oracle_files(SHAPES.oracle.model_copy(update={"path": str(folder)})))


@pytest.mark.parametrize(
    ("file", "field", "value", "name"),
    [
        (UNET, "in_channels", 0, "conv_in.weight"),
        (UNET, "act_fn", "nope", ""),
        (TEXT, "vocab_size", 10**12, "token_embedding.weight"),
    ],
)
def test_the_sentence_names_the_field_and_its_value(
    teacher: Path, file: str, field: str, value: Any, name: str
) -> None:
    content = json.loads((teacher / file).read_text())
    (teacher / file).write_text(json.dumps({**content, field: value}))
    with pytest.raises(ModelError, match=rf"{file}: .* with {field}: {value}") as caught:
        look(teacher)
    assert name in str(caught.value)


def test_what_asks_for_all_memory_gets_an_error_and_the_process_goes_on() -> None:
    with bounded(), pytest.raises((MemoryError, RuntimeError)):
        torch.zeros(10**9)
    assert torch.zeros(10**6).sum() == 0


@pytest.mark.parametrize("content", [None, "", '{"version": "1.0"}', "[]"])
def test_a_tokenizer_that_is_not_whole_is_refused(teacher: Path, content: str | None) -> None:
    file = teacher / "tokenizer/tokenizer.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer.*cannot be loaded: .*Copy the model again\."):
        look(teacher)


def test_the_untouched_model_is_taken(teacher: Path) -> None:
    look(teacher)
