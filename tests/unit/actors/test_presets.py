"""The presets of real models: whole, and as published."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import pytest
import yaml
from accelerate import init_empty_weights

from actors.models import presets
from actors.models.preset_sizes import download_gb, is_gated, memory_gib
from actors.models.presets import CATALOGUE, OPTIONS, PRESETS, REPOSITORIES, Preset
from cluster.views.preset import describe
from jobs.spec.job_spec import make_spec

ROOT = Path(__file__).parents[3]
REAL = [name for name in CATALOGUE if not name.startswith(("shapes", "timed"))]


@pytest.mark.parametrize("name", REAL)
def test_a_preset_says_where_from_and_under_which_licence(name: str) -> None:
    """Of every file that it names."""
    preset = CATALOGUE[name]
    places = {source.at for source in preset.sources}
    for settings in (preset.student, preset.teacher):
        parts = [settings, settings.denoiser, settings.vae, settings.controlnet]
        parts += settings.all_loras
        assert {part.path for part in parts if part} <= places
        assert settings.width
        assert settings.height
    assert all(source.licence for source in preset.sources)
    assert PRESETS[name] == preset.models


@pytest.mark.parametrize("name", REAL)
def test_every_option_is_on_or_off_with_a_reason(name: str) -> None:
    preset = CATALOGUE[name]
    off = {option: roles for option, roles, reason in preset.off() if reason}
    for role, settings in (("student", preset.student), ("teacher", preset.teacher)):
        for option in OPTIONS:
            is_on = getattr(settings, option) not in (False, "none")
            assert is_on == (role not in off.get(option, ""))
            assert not is_on or option in preset.reasons
        assert settings.dtype == "float32" or "dtype" in preset.reasons


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_job_of_a_preset_improves_as_the_preset_does(name: str) -> None:
    preset = CATALOGUE[name]
    fields = {"input": "prompts.txt", "output": "out", "models": name}
    if preset.student.controlnet:
        fields |= {"task": "control", "image_column": "picture"}
    if preset.instructed:
        fields |= {"task": "edit", "image_column": "picture"}
    spec = make_spec(fields)
    assert spec.strategy == preset.strategy
    rollback = spec.rollback.model_dump(exclude_none=True) if spec.rollback else None
    assert rollback == preset.rollback
    own = make_spec({**fields, "models": {"preset": name}, "strategy": "regenerate"})
    assert (own.strategy, own.rollback) == ("regenerate", None)
    back = make_spec({**fields, "strategy": "refine", "rollback": {"strength": 0.9}}).rollback
    assert back is not None
    assert back.strength == 0.9


def test_published_percentiles_rise_and_belong_to_their_settings() -> None:
    found = [preset for preset in CATALOGUE.values() if preset.published]
    assert len(found) == 2
    for preset in found:
        scores = preset.published
        assert scores is not None
        assert scores.steps == preset.student.steps
        assert scores.guidance in (None, preset.student.guidance_scale)
        assert list(scores.percentiles) == [10, 20, 30, 40, 50, 60, 70, 80, 90]
        values = list(scores.percentiles.values())
        assert values == sorted(values)


def test_the_listing_says_what_a_person_needs() -> None:
    text = "\n".join(describe(CATALOGUE["lcm-sdxl"]))
    for said in (
        "latent-consistency/lcm-sdxl (OpenRAIL++)",
        "1024 x 1024, 4 steps, guidance 8",
        "scheduler lcm",
        "back to strength 0.7",
        "30 %: 0.15",
        "diffusers 0.42.1",
    ):
        assert said in text


def test_versions_are_those_that_the_tests_ran_with() -> None:
    file = Path(presets.__file__).with_name("presets.yaml")
    versions = yaml.safe_load(file.read_text(encoding="utf-8"))["versions"]
    figures = json.loads((ROOT / "tests/models/families.json").read_text())
    assert versions == figures["versions"]
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    assert {name: pinned[name] for name in versions} == versions


def test_a_preset_that_refines_says_how_far_back() -> None:
    fields = CATALOGUE["shapes"].model_dump()
    with pytest.raises(ValueError, match="how far back"):
        Preset.model_validate({**fields, "rollback": None})


# ---- sizes


@pytest.mark.parametrize("name", REAL)
def test_a_preset_says_how_large_it_is(name: str) -> None:
    preset = CATALOGUE[name]
    assert {source.at for source in preset.sources} <= REPOSITORIES.keys()
    shown = "\n".join(describe(preset))
    assert "billion parameters, about " in shown
    assert "GiB of GPU memory for a batch of" in shown
    assert f"download: {download_gb(preset):.1f} GB" in shown
    assert ("gated: the hub asks for consent" in shown) == is_gated(preset)
    assert all(f"could not be verified: {what}" in shown for what in preset.unverified)


def test_a_file_that_two_models_share_is_fetched_once() -> None:
    """LCM-LoRA and its teacher are one pipeline; of LCM-SDXL the UNet comes beside it."""
    oracle, lora = 1.8, 0.1
    assert download_gb(CATALOGUE["lcm-sd15"]) == pytest.approx(2.1 + lora + oracle, abs=0.1)
    sdxl = 2 * (2.567 + 0.818 + 0.084)
    assert download_gb(CATALOGUE["lcm-sdxl"]) == pytest.approx(sdxl + 2 * 2.567 + oracle)


@pytest.mark.parametrize(
    ("file", "model", "preset", "batch"),
    [
        ("1-sdxl-and-bits", "sdxl", "lcm-lora-sdxl", 4),
        ("1-sdxl-and-bits", "sdxl", "lcm-lora-sdxl", 8),
        ("2-sd15", "sd15", "lcm-sd15", 8),
    ],
)
def test_the_arithmetic_of_memory_is_what_a_gpu_showed(
    file: str, model: str, preset: str, batch: int
) -> None:
    """Of plain diffusers' teacher alone on the GPU; ours had the student's weights there too."""
    results = ROOT / f"benchmarks/results/gpu/nvidia-h200/{file}.json"
    (line,) = [
        line
        for line in json.loads(results.read_text())["lines"]
        if line.get("what") == "teacher, plain diffusers"
        and (line["model"], line["batch"]) == (model, batch)
    ]
    settings = CATALOGUE[preset].teacher.model_copy(update={"batch_size": batch})
    assert memory_gib(settings) == pytest.approx(line["peak_gib"], rel=0.05)


def test_sizes_are_those_of_the_classes() -> None:
    """Of networks whose published configuration is their class's default."""
    with init_empty_weights():
        for kind, name in (
            (diffusers.FluxTransformer2DModel, "black-forest-labs/FLUX.1-schnell"),
            (diffusers.QwenImageTransformer2DModel, "Qwen/Qwen-Image"),
            (diffusers.ZImageTransformer2DModel, "Tongyi-MAI/Z-Image"),
        ):
            count = sum(weight.numel() for weight in kind().parameters())
            assert count / 1e9 == pytest.approx(REPOSITORIES[name].denoiser, abs=0.001)
