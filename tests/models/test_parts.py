"""Students that are a part put into the teacher: a LoRA, or a UNet by itself."""

from __future__ import annotations

from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

from actors.errors import ModelError
from actors.models.autoencoders import autoencoder_difference
from actors.models.diffusion import Diffusion
from actors.models.file_reader import FileReader
from actors.models.pairing import fitted
from actors.models.pipeline_files import lora_file, open_pipeline_files
from actors.settings import DiffusionSettings, LoraSettings
from tests.models.conftest import Folders, Loaded, settings_for
from tests.models.test_families import PROMPTS, SEEDS, difference, plain_arguments
from tests.models.tiny import autoencoder, unet


def save_lora(folder: Path, target: Path) -> Path:
    """A random LoRA on the attention of the pipeline's network, as trainers save it."""
    pipe: Any = DiffusionPipeline.from_pretrained(folder)
    part = "unet" if "unet" in pipe.components else "transformer"
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


def fingerprint(settings: DiffusionSettings) -> str:
    return open_pipeline_files(settings).fingerprint(FileReader())


@pytest.fixture(scope="module")
def lora(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("lora")
    return save_lora(folders("stable-diffusion"), home)


@pytest.mark.parametrize(
    "name", ["stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "flux", "qwen-image"]
)
@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_a_fused_lora_draws_what_diffusers_draws_with_it(
    name: str, scale: float, folders: Folders, loaded: Loaded, tmp_path: Path
) -> None:
    """0.125 is what the Hyper-SD LoRAs of the large models are scaled with."""
    file = save_lora(folders(name), tmp_path)
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
    file = save_lora(folders("flux"), tmp_path)
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
        lora_file(LoraSettings(path=str(tmp_path), file=file.name), FileReader())


def test_a_lora_belongs_to_the_identity_by_its_content(
    folders: Folders, lora: Path, tmp_path: Path
) -> None:
    folder = folders("stable-diffusion")
    plain = settings_for(folder)
    named = settings_for(folder, lora={"path": str(lora.parent), "file": lora.name})
    elsewhere = settings_for(folder, lora={"path": str(copy(lora, tmp_path / "other.safetensors"))})
    assert fingerprint(named) == fingerprint(elsewhere) != fingerprint(plain)
    (tmp_path / "other.safetensors").write_bytes(lora.read_bytes()[:-1] + b"x")
    assert fingerprint(named) != fingerprint(elsewhere)
    assert open_pipeline_files(named).settings.lora == LoraSettings(path=str(lora.resolve()))


def test_several_loras_are_fused_each_with_its_scale(
    folders: Folders, lora: Path, loaded: Loaded, tmp_path: Path
) -> None:
    """One LoRA in two halves is the whole; and one that is taken away again is none."""
    name, whole = "stable-diffusion", {"path": str(lora)}

    def drawn(**fields: Any) -> torch.Tensor:
        return loaded(name, batch_size=2, **fields).draw(PROMPTS[:2], SEEDS[:2], 3)

    halves = drawn(lora={**whole, "scale": 0.5}, loras=[{**whole, "scale": 0.5}])
    assert difference(halves, drawn(lora=whole)) < 1e-4
    assert difference(drawn(loras=[whole, {**whole, "scale": -1.0}]), drawn()) < 1e-4
    assert difference(halves, drawn()) > 0.01
    two = settings_for(folders(name), loras=[whole, whole])
    assert fingerprint(two).count("+") == 2
    assert open_pipeline_files(two).settings.loras[1].path == str(lora.resolve())


# ---- networks from elsewhere


@pytest.mark.parametrize(
    "name", ["stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "flux"]
)
def test_a_network_in_one_file_takes_the_pipelines_configuration(
    name: str, folders: Folders, loaded: Loaded, tmp_path: Path
) -> None:
    """As SDXL-Lightning's UNet is published: weights alone, in diffusers' names."""
    model = loaded(name, batch_size=2)
    torch.manual_seed(8)
    weights = {
        key: weight + 0.02 * torch.randn_like(weight)
        for key, weight in model.denoiser.state_dict().items()
    }
    save_file(weights, tmp_path / "network.safetensors")
    one = {"path": str(tmp_path), "file": "network.safetensors"}
    ours = Diffusion(settings_for(folders(name), denoiser=one, batch_size=2))
    assert all(torch.equal(weights[k], v) for k, v in ours.denoiser.state_dict().items())
    plain = model.draw(PROMPTS[:2], SEEDS[:2], 3)
    assert difference(ours.draw(PROMPTS[:2], SEEDS[:2], 3), plain) > 0.001
    other = settings_for(folders(name), denoiser={"path": str(tmp_path / "network.safetensors")})
    assert fingerprint(other) == fingerprint(settings_for(folders(name), denoiser=one))
    assert open_pipeline_files(other).network == dict(
        open_pipeline_files(settings_for(folders(name))).network
    )
    weights.popitem()
    save_file(weights, tmp_path / "network.safetensors")
    with pytest.raises(ModelError, match="lacks 1 of the weights"):
        Diffusion(other)
    save_file({"a": torch.zeros(1)}, tmp_path / "network.safetensors")
    with pytest.raises(ModelError, match=r"finds no .* in it"):
        Diffusion(other)


def test_another_autoencoder_decodes_and_encodes(
    folders: Folders, loaded: Loaded, tmp_path: Path
) -> None:
    name = "stable-diffusion"
    torch.manual_seed(9)
    other = autoencoder(4, scaling_factor=0.5)
    other.save_pretrained(tmp_path / "vae")
    given = {"path": str(tmp_path / "vae")}
    plain, ours = loaded(name, batch_size=2), loaded(name, batch_size=2, vae=given)
    latents = plain.draw(PROMPTS[:2], SEEDS[:2], 3)
    assert torch.equal(latents, ours.draw(PROMPTS[:2], SEEDS[:2], 3))
    with torch.inference_mode():
        pixels = other.decode(latents / 0.5).sample / 2 + 0.5
    wanted = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.abs(ours.decode(latents).astype(int) - wanted).max() <= 1, "the last bit"
    assert difference(ours.encode(wanted), plain.encode(wanted)) > 0.1
    with_it, without = (
        open_pipeline_files(settings_for(folders(name), vae=vae)) for vae in (given, None)
    )
    reader = FileReader()
    assert autoencoder_difference(with_it, with_it, reader) is None
    assert "scaling_factor" in str(autoencoder_difference(with_it, without, reader))


# ---- LoRAs with the key names of kohya's scripts

CHANGED_BY_LCM_LORA = (
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2",
    "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv",
    "time_emb_proj",
)  # fmt: skip
"""Source: diffusers' examples/consistency_distillation/train_lcm_distill_lora_sdxl.py."""

STABILITYS_BLOCKS = {
    "down_blocks_1_attentions_0": "input_blocks_3_1",
    "mid_block_attentions_0": "middle_block_1",
    "up_blocks_0_attentions_0": "output_blocks_0_1",
    "up_blocks_0_attentions_1": "output_blocks_1_1",
}
"""The names of the tiny UNet's attention in the code that SDXL came with."""

FLUX_BLOCKS = {
    "double_blocks_0": "transformer_blocks.0",
    "single_blocks_0": "single_transformer_blocks.0",
}
FLUX_LAYERS = {
    "double_blocks_0_img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "double_blocks_0_img_attn_proj": ("attn.to_out.0",),
    "double_blocks_0_img_mlp_0": ("ff.net.0.proj",),
    "double_blocks_0_img_mlp_2": ("ff.net.2",),
    "double_blocks_0_img_mod_lin": ("norm1.linear",),
    "double_blocks_0_txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "double_blocks_0_txt_attn_proj": ("attn.to_add_out",),
    "double_blocks_0_txt_mlp_0": ("ff_context.net.0.proj",),
    "double_blocks_0_txt_mlp_2": ("ff_context.net.2",),
    "double_blocks_0_txt_mod_lin": ("norm1_context.linear",),
    "single_blocks_0_linear2": ("proj_out",),
    "single_blocks_0_modulation_lin": ("norm.linear",),
}
"""Black Forest Labs' names, which kohya's scripts use. `single_blocks_0_linear1` is missing: for it
diffusers knows one width only, the real one."""

Layers = dict[str, list[torch.Tensor]]
"""By a name in the file: the weights that it changes, one below the other."""


def inner(network: nn.Module, ends: tuple[str, ...] = ("",)) -> dict[str, torch.Tensor]:
    """The weights of its layers whose names end so."""
    return {
        name: layer.weight
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and name.endswith(ends)
    }


def as_kohya(prefix: str, weights: dict[str, torch.Tensor]) -> Layers:
    return {prefix + name.replace(".", "_"): [weight] for name, weight in weights.items()}


def text_layers(pipe: Any, names: dict[str, str]) -> Layers:
    found: Layers = {}
    for part, prefix in names.items():
        attention = inner(getattr(pipe, part), ("_proj", "fc1", "fc2"))
        # transformers has dropped this level since; the files have it.
        whole = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in attention.items()}
        found |= as_kohya(prefix, whole)
    return found


def of_sd(pipe: Any) -> Layers:
    return as_kohya("lora_unet_", inner(pipe.unet, CHANGED_BY_LCM_LORA)) | text_layers(
        pipe, {"text_encoder": "lora_te_"}
    )


def of_sdxl(pipe: Any) -> Layers:
    return as_kohya("lora_unet_", inner(pipe.unet, CHANGED_BY_LCM_LORA)) | text_layers(
        pipe, {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    )


def of_sdxl_by_stability(pipe: Any) -> Layers:
    """As kohya's scripts name the attention that they train in SDXL."""
    found: Layers = {}
    for name, layers in as_kohya("", inner(pipe.unet)).items():
        for ours, theirs in STABILITYS_BLOCKS.items():
            if name.startswith(ours):
                found[f"lora_unet_{theirs}{name.removeprefix(ours)}"] = layers
    return found


def of_flux(pipe: Any) -> Layers:
    found: Layers = {}
    for name, layers in FLUX_LAYERS.items():
        block = pipe.transformer.get_submodule(FLUX_BLOCKS[name[:15]])
        found[f"lora_unet_{name}"] = [block.get_parameter(f"{one}.weight") for one in layers]
    return found


def of_flux_and_its_text(pipe: Any) -> Layers:
    return of_flux(pipe) | text_layers(pipe, {"text_encoder": "lora_te1_"})


def of_qwen_image(pipe: Any) -> Layers:
    """As in Qwen-Image-Lightning: diffusers' own names, with kohya's endings."""
    blocks = inner(pipe.transformer.transformer_blocks)
    return {f"transformer_blocks.{name}": [weight] for name, weight in blocks.items()}


def of_z_image(pipe: Any) -> Layers:
    return as_kohya("lora_unet_", inner(pipe.transformer))


KOHYA = {
    "stable-diffusion": ("stable-diffusion", of_sd),
    "stable-diffusion-xl": ("stable-diffusion-xl", of_sdxl),
    "sdxl-by-stability": ("stable-diffusion-xl", of_sdxl_by_stability),
    "flux": ("flux", of_flux),
    "flux-and-its-text": ("flux", of_flux_and_its_text),
    "qwen-image": ("qwen-image", of_qwen_image),
    "z-image": ("z-image", of_z_image),
}
Changes = list[tuple[torch.Tensor, torch.Tensor, float]]
"""Weights; what `up @ down` adds to them; the alpha / rank by which it is multiplied."""


def save_kohya(layers: Layers, alphas: tuple[float, ...], file: Path) -> Changes:
    """A random LoRA with ranks 2 and 4 and these alphas in turn, and what it means."""
    made = torch.Generator().manual_seed(6)
    weights: dict[str, torch.Tensor] = {}
    changes: Changes = []
    for place, (name, changed) in enumerate(layers.items()):
        rank, alpha = (2, 4)[place % 2], alphas[place % len(alphas)]
        shape, heights = changed[0].shape, [len(weight) for weight in changed]
        down = 0.2 * torch.randn(rank, *shape[1:], generator=made)
        up = 0.2 * torch.randn(sum(heights), rank, *[1] * (len(shape) - 2), generator=made)
        weights[f"{name}.lora_down.weight"] = down
        weights[f"{name}.lora_up.weight"] = up
        weights[f"{name}.alpha"] = torch.tensor(alpha)
        product = (up.flatten(1) @ down.flatten(1)).view(-1, *shape[1:])
        parts = torch.split(product, heights)
        changes += [(one, part, alpha / rank) for one, part in zip(changed, parts, strict=True)]
    save_file(weights, file)
    return changes


def check_kohya(case: str, alphas: tuple[float, ...], folders: Folders, file: Path) -> None:
    """That the loader's fused LoRA draws what the same change, written into the weights, draws."""
    name, layers_of = KOHYA[case]
    plain = Diffusion(settings_for(folders(name), batch_size=2))
    changes = save_kohya(layers_of(plain.pipe), alphas, file)
    ours = Diffusion(settings_for(folders(name), lora={"path": str(file)}, batch_size=2))
    drawn = ours.draw(PROMPTS[:2], SEEDS[:2], 3)

    def with_more(more: list[float]) -> torch.Tensor:
        for (weight, product, _), scale in zip(changes, more, strict=True):
            weight.data += scale * product
        return plain.draw(PROMPTS[:2], SEEDS[:2], 3)

    scales = [scale for *_, scale in changes]
    assert difference(with_more(scales), drawn) < 1e-3
    without_alpha = with_more([1 - scale for scale in scales])
    assert difference(without_alpha, drawn) > 0.01, "alpha has its say"


@pytest.mark.parametrize("case", KOHYA)
def test_a_lora_of_kohyas_names_changes_weights_by_its_alpha(
    case: str, folders: Folders, tmp_path: Path
) -> None:
    """W + alpha / rank * up @ down, with one alpha and two ranks: 3 / 2 and 3 / 4."""
    check_kohya(case, (3.0,), folders, tmp_path / "kohya.safetensors")


@pytest.mark.parametrize("case", KOHYA)
def test_each_layer_of_a_kohya_lora_may_have_an_alpha_of_its_own(
    case: str, folders: Folders, tmp_path: Path
) -> None:
    """As in files whose ranks were chosen layer by layer, when they were made smaller."""
    check_kohya(case, (1.0, 3.0, 8.0), folders, tmp_path / "kohya.safetensors")


def test_kohyas_names_are_refused_where_diffusers_does_not_know_them(
    folders: Folders, tmp_path: Path
) -> None:
    """It would draw Stable Diffusion 3 as if there were no LoRA."""
    name, file = "stable-diffusion-3", tmp_path / "kohya.safetensors"
    pipe: Any = DiffusionPipeline.from_pretrained(folders(name))
    save_kohya(as_kohya("lora_unet_", inner(pipe.transformer)), (3.0,), file)
    with pytest.raises(ModelError, match="changes nothing"):
        Diffusion(settings_for(folders(name), lora={"path": str(file)}))


# ---- a UNet by itself


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
    files = open_pipeline_files(wanted)
    assert files.network["time_cond_proj_dim"] == 16
    assert fitted(files).evaluations_per_step == 1
    assert fingerprint(wanted) != fingerprint(settings_for(folder))
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
