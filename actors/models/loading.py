"""Loads a pipeline as its settings want it: safe, with its LoRA and scheduler, on its device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors.torch import load_file

from actors.errors import ModelError, said_by
from actors.models.checks import ModelFolder
from actors.models.pipeline_files import PipelineFiles
from actors.models.schedulers import as_wanted
from actors.settings import DiffusionSettings, LoraSettings

NOT_IN_THE_FILE = (AttributeError, LookupError, RuntimeError, ValueError, OSError)
"""What diffusers raises, beside its own error, for a file of other weights than it looks for."""

log = logging.getLogger("bottega.models")


def load_pipeline(files: PipelineFiles[DiffusionSettings], device: torch.device) -> Any:
    """diffusers' pipeline of these files. Raises ModelError."""
    settings, family = files.settings, files.family
    try:
        pipe = diffusers.DiffusionPipeline.from_pretrained(
            files.folder.path,
            dtype=getattr(torch, settings.dtype),
            variant=settings.variant,
            use_safetensors=None if settings.allow_pickle else True,
            trust_remote_code=False,
            **_without_safety_checker(files.folder),
            **_replaced(files),
        )
        for lora, file in zip(settings.all_loras, files.loras, strict=True):
            _fuse_lora(pipe, files, lora, file)
        pipe = _with_control(pipe, files)
    except ModelError:
        raise
    except Exception as error:  # whatever the first line of a library raises that meets the file
        raise ModelError(
            f"cannot load the pipeline {settings.path!r}: {said_by(error)}. Copy the model again."
        ) from error
    pipe.scheduler = as_wanted(pipe.scheduler, settings.scheduler)
    pipe.set_progress_bar_config(disable=True)
    if settings.channels_last:
        parts = (getattr(pipe, family.denoiser), pipe.vae, getattr(pipe, "controlnet", None))
        for part in filter(None, parts):
            # Weights of other dimensions, as of a transformer or a video autoencoder, stay.
            for weight in part.parameters():
                if weight.dim() == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    for wanted, option in ((settings.vae_slicing, "slicing"), (settings.vae_tiling, "tiling")):
        if wanted:
            _turn_on(pipe.vae, option)
    _place(pipe, settings, device)
    if settings.compile:
        _compile(getattr(pipe, family.denoiser))
    return pipe


def _without_safety_checker(folder: ModelFolder) -> dict[str, Any]:
    """The arguments that leave out the safety checker of Stable Diffusion 1 (`NOT_LOADED`)."""
    if "safety_checker" not in folder.components:
        return {}
    return {"safety_checker": None, "requires_safety_checker": False}


def _replaced(files: PipelineFiles[DiffusionSettings]) -> dict[str, Any]:
    """The networks that take the place of the pipeline's own, by their names in it."""
    found = {}
    for what, name, folder, file in (
        ("denoiser", files.family.denoiser, files.denoiser, files.denoiser_file),
        ("vae", "vae", files.vae, files.vae_file),
    ):
        part = getattr(files.settings, what)
        if folder:
            found[name] = _network(folder, what, files.settings, part.variant)
        elif file:
            found[name] = _network_of_one_file(files, name, what, file)
    return found


def _network_of_one_file(
    files: PipelineFiles[DiffusionSettings], name: str, what: str, file: Path
) -> Any:
    """A network with the configuration of the pipeline's own, and the weights in one file.

    In diffusers' names, or in those of the model's authors where diffusers knows these.
    """
    kind = getattr(diffusers, files.folder.components[name][1])
    with init_empty_weights():
        network = kind.from_config(kind.load_config(files.folder.path / name))
    wanted, weights = set(network.state_dict()), load_file(file)
    if wanted & weights.keys():
        missing = sorted(wanted - weights.keys())
        if missing:
            raise ModelError(
                f"{what} {str(file)!r} lacks {len(missing)} of the weights of a {kind.__name__}, "
                f"such as {missing[0]!r}. Is it one for {files.settings.path!r}?"
            )
        network.load_state_dict({key: weights[key] for key in wanted}, assign=True)
        return network.to(getattr(torch, files.settings.dtype)).eval()
    try:
        return kind.from_single_file(
            str(file),
            config=str(files.folder.path),
            subfolder=name,
            dtype=getattr(torch, files.settings.dtype),
            local_files_only=True,
        )
    except (*NOT_IN_THE_FILE, SingleFileComponentError) as error:
        raise ModelError(
            f"{what} {str(file)!r}: diffusers {diffusers.__version__} finds no {kind.__name__} in "
            f"it: {said_by(error)}. Give a file of such weights, or a folder with its config.json."
        ) from error


def _network(
    folder: ModelFolder, what: str, settings: DiffusionSettings, variant: str | None
) -> Any:
    name = folder.config("config.json").get("_class_name")
    kind = getattr(diffusers, str(name), None)
    if kind is None or not hasattr(kind, "from_pretrained"):
        raise ModelError(
            f"{what} {str(folder.path)!r} is a {name!r}, which diffusers {diffusers.__version__} "
            "does not have."
        )
    return kind.from_pretrained(
        folder.path, dtype=getattr(torch, settings.dtype), use_safetensors=True, variant=variant
    )


def _with_control(pipe: Any, files: PipelineFiles[DiffusionSettings]) -> Any:
    """The same pipeline with its ControlNet, if it has one."""
    if files.controlnet is None:
        return pipe
    wanted = files.settings.controlnet
    variant = wanted.variant if wanted else None
    network = _network(files.controlnet, "controlnet", files.settings, variant)
    return diffusers.AutoPipelineForText2Image.from_pipe(pipe, controlnet=network)


def _fuse_lora(
    pipe: Any, files: PipelineFiles[DiffusionSettings], lora: LoraSettings, file: Path
) -> None:
    if not hasattr(pipe, "load_lora_weights"):
        raise ModelError(f"lora {lora.path!r}: a {type(pipe).__name__} takes none.")
    weights = _without_alphas(file) if files.family.denoiser == "unet" else None
    if weights is not None:
        pipe.load_lora_weights(weights)
    else:
        pipe.load_lora_weights(str(file.parent), weight_name=file.name, use_safetensors=True)
    if not pipe.get_active_adapters():
        # diffusers only warns then, and draws as if there were none.
        raise ModelError(
            f"lora {str(file)!r} changes nothing in {files.settings.path!r}. Is it one for this "
            "model?"
        )
    # Fused, it costs nothing at each step. By itself diffusers leaves FLUX's text encoder out.
    pipe.fuse_lora(components=list(pipe.get_list_adapters()), lora_scale=lora.scale)
    pipe.unload_lora_weights()


def _without_alphas(file: Path) -> dict[str, torch.Tensor] | None:
    """A LoRA with kohya's names, its alphas multiplied into its weights; None for another.

    Where layers have different alphas, diffusers loses those of a UNet's attention (their names do
    not fit its modules') and takes the most frequent alpha for these layers.
    """
    weights = load_file(file)
    names = [key.removesuffix(".alpha") for key in weights if key.endswith(".alpha")]
    if not names or any(f"{name}.lora_up.weight" not in weights for name in names):
        return None
    for name in names:
        scale = float(weights.pop(f"{name}.alpha")) / len(weights[f"{name}.lora_down.weight"])
        weights[f"{name}.lora_up.weight"] = weights[f"{name}.lora_up.weight"].float() * scale
    return weights


def _turn_on(vae: Any, option: str) -> None:
    if not hasattr(vae, f"enable_{option}"):
        raise ModelError(f"vae_{option}: a {type(vae).__name__} cannot do that. Leave it out.")
    getattr(vae, f"enable_{option}")()


def _place(pipe: Any, settings: DiffusionSettings, device: torch.device) -> None:
    if settings.offload == "none":
        pipe.to(device)
    elif device.type == "cpu":
        log.warning("offload: %s has no effect: there is no GPU here", settings.offload)
    elif settings.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)


def _compile(network: Any) -> None:
    # Not `network.compile()`: its hooks, which count evaluations, would be compiled too.
    network.forward = torch.compile(network.forward, dynamic=False)
