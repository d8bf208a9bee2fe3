"""Loads a pipeline as its settings want it: safe, with its LoRA and scheduler, on its device."""

from __future__ import annotations

import logging
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from actors.errors import ModelError
from actors.models.checks import ModelFolder
from actors.models.pipeline_files import PipelineFiles
from actors.models.schedulers import as_wanted
from actors.settings import DiffusionSettings

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
            **_denoiser(files),
        )
        _fuse_lora(pipe, files)
        pipe = _with_control(pipe, files)
    except (OSError, ValueError, KeyError, SafetensorError, UnpicklingError) as error:
        raise ModelError(f"cannot load the pipeline {settings.path!r}: {error}") from error
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
    """The arguments that leave out the safety checker of Stable Diffusion 1: it blackens pictures,
    and the oracle has to see what was drawn."""
    if "safety_checker" not in folder.components:
        return {}
    return {"safety_checker": None, "requires_safety_checker": False}


def _denoiser(files: PipelineFiles[DiffusionSettings]) -> dict[str, Any]:
    if files.denoiser is None:
        return {}
    return {files.family.denoiser: _network(files.denoiser, "denoiser", files.settings)}


def _network(folder: ModelFolder, what: str, settings: DiffusionSettings) -> Any:
    name = folder.config("config.json").get("_class_name")
    kind = getattr(diffusers, str(name), None)
    if kind is None or not hasattr(kind, "from_pretrained"):
        raise ModelError(
            f"{what} {str(folder.path)!r} is a {name!r}, which diffusers {diffusers.__version__} "
            "does not have."
        )
    return kind.from_pretrained(
        folder.path, dtype=getattr(torch, settings.dtype), use_safetensors=True
    )


def _with_control(pipe: Any, files: PipelineFiles[DiffusionSettings]) -> Any:
    """The same pipeline with its ControlNet, if it has one."""
    if files.controlnet is None:
        return pipe
    network = _network(files.controlnet, "controlnet", files.settings)
    return diffusers.AutoPipelineForText2Image.from_pipe(pipe, controlnet=network)


def _fuse_lora(pipe: Any, files: PipelineFiles[DiffusionSettings]) -> None:
    lora, file = files.settings.lora, files.lora
    if lora is None or file is None:
        return
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
