"""Students that are a part put into the teacher: a LoRA, or a UNet by itself."""

from __future__ import annotations

from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from actors.errors import ModelError
from actors.models.diffusion import Diffusion
from actors.models.pairing import fitted, network_config
from actors.models.sources import lora_file, resolved
from actors.settings import LoraSettings, StudentSettings
from tests.models.conftest import Folders, Loaded, settings_for
from tests.models.test_families import PROMPTS, SEEDS, difference, plain_arguments
from tests.models.tiny import unet


def save_lora(name: str, folder: Path, target: Path) -> Path:
    """A random LoRA on the attention of the pipeline's network, as trainers save it."""
    pipe: Any = DiffusionPipeline.from_pretrained(folder)
    part = "unet" if name.startswith("stable-diffusion") and name[-1] != "3" else "transformer"
    network = getattr(pipe, part)
    network.add_adapter(
        LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian")
    )
    torch.manual_seed(5)
    for key, weight in network.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(weight, std=0.5)
    layers = {f"{part}_lora_layers": get_peft_model_state_dict(network)}
    type(pipe).save_lora_weights(target, **layers, safe_serialization=True)
    return target / "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def lora(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("lora")
    return save_lora("stable-diffusion", folders("stable-diffusion"), home)


@pytest.mark.parametrize(
    "name", ["stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "flux", "qwen-image"]
)
@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_a_fused_lora_draws_what_diffusers_draws_with_it(
    name: str, scale: float, folders: Folders, loaded: Loaded, tmp_path: Path
) -> None:
    """0.125 is what the Hyper-SD LoRAs of the large models are scaled with."""
    file = save_lora(name, folders(name), tmp_path)
    ours = loaded(name, lora={"path": str(file), "scale": scale}, batch_size=2)
    drawn = ours.draw(PROMPTS[:2], SEEDS[:2], 3)
    pipe: Any = DiffusionPipeline.from_pretrained(folders(name))
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(tmp_path), weight_name=file.name)
    pipe.set_adapters(pipe.get_active_adapters(), adapter_weights=[scale])
    plain = pipe(
        PROMPTS[1],
        generator=torch.Generator().manual_seed(SEEDS[1]),
        num_inference_steps=3,
        width=32,
        height=32,
        **plain_arguments(name),
    ).images
    assert difference(drawn[1:], ours._unpacked(plain)) < 1e-3
    without = loaded(name, batch_size=2).draw(PROMPTS[:2], SEEDS[:2], 3)
    assert difference(drawn, without) > 0.01, "it changes something"


def test_a_lora_of_another_model_is_refused(folders: Folders, tmp_path: Path) -> None:
    """diffusers only warns, and draws as if there were none."""
    file = save_lora("flux", folders("flux"), tmp_path)
    wrong = settings_for(folders("stable-diffusion"), lora={"path": str(file)})
    with pytest.raises(ModelError, match=r"changes nothing|cannot load"):
        Diffusion(wrong)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: f.rename(f.with_suffix(".bin")), "has no file|is not here"),
        (lambda f: f.write_bytes(f.read_bytes()[:-9]), "is not whole"),
    ],
)
def test_a_damaged_lora_is_refused(lora: Path, tmp_path: Path, damage: Any, said: str) -> None:
    file = Path(copy(lora, tmp_path))
    damage(file)
    with pytest.raises(ModelError, match=said):
        lora_file(LoraSettings(path=str(tmp_path), file=file.name))


def test_a_lora_belongs_to_the_identity_by_its_content(
    folders: Folders, lora: Path, tmp_path: Path
) -> None:
    folder = folders("stable-diffusion")
    plain = settings_for(folder)
    named = settings_for(folder, lora={"path": str(lora.parent), "file": lora.name})
    elsewhere = settings_for(folder, lora={"path": str(copy(lora, tmp_path / "other.safetensors"))})
    assert resolved(named)[1] == resolved(elsewhere)[1] != resolved(plain)[1]
    (tmp_path / "other.safetensors").write_bytes(lora.read_bytes()[:-1] + b"x")
    assert resolved(named)[1] != resolved(elsewhere)[1]
    assert resolved(named)[0].lora == LoraSettings(path=str(lora.resolve()))


def test_a_unet_by_itself_takes_the_place_of_the_pipelines(
    folders: Folders, tmp_path: Path
) -> None:
    """As LCM-SDXL is published: guidance is an input of the network, and doubles nothing."""
    torch.manual_seed(1)
    other = unet(time_cond_proj_dim=16)
    other.save_pretrained(tmp_path)
    folder = folders("stable-diffusion")
    wanted = settings_for(
        folder, denoiser={"path": str(tmp_path)}, scheduler={"name": "lcm"}, batch_size=2
    )
    ours = Diffusion(wanted)
    drawn = ours.draw(PROMPTS[:2], SEEDS[:2], 3)
    assert ours.evaluations == 3
    settings = StudentSettings(**wanted.model_dump())
    assert network_config(settings, folder)["time_cond_proj_dim"] == 16
    assert fitted(settings, folder).evaluations_per_step == 1
    assert resolved(settings)[1] != resolved(settings_for(folder))[1]
    pipe: Any = DiffusionPipeline.from_pretrained(folder, unet=other)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = ours.pipe.scheduler
    plain = pipe(
        PROMPTS[0],
        generator=torch.Generator().manual_seed(SEEDS[0]),
        num_inference_steps=3,
        width=32,
        height=32,
        **plain_arguments("stable-diffusion"),
    ).images
    assert difference(drawn[:1], plain) < 1e-4
