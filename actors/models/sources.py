"""All that a pipeline is loaded from: its folder, and what is put into it.

Looks at files only, so that a bad path is refused before an actor starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from actors.errors import ModelError
from actors.models.checks import check_file, check_weights, read_config, refuse_code
from actors.models.folders import check_folder, fingerprint, hash_files, hub_snapshot, pinned
from actors.settings import (
    ControlNetSettings,
    DenoiserSettings,
    DiffusionSettings,
    LoraSettings,
    StudentSettings,
    TeacherSettings,
)

S = TypeVar("S", DiffusionSettings, StudentSettings, TeacherSettings)


def resolved(settings: S) -> tuple[S, str]:
    """The settings with paths that mean the same in every process, and a hash of all the files.

    Raises ModelError.
    """
    folder = check_folder(settings)
    files, update = [fingerprint(folder)], dict[str, Any]()
    if settings.denoiser:
        network = network_folder(settings.denoiser, "denoiser")
        files.append(fingerprint(network))
        update["denoiser"] = pinned(settings.denoiser, network)
    if settings.controlnet:
        network = network_folder(settings.controlnet, "controlnet")
        files.append(fingerprint(network))
        update["controlnet"] = pinned(settings.controlnet, network)
    if settings.lora:
        file = lora_file(settings.lora)
        files.append(hash_files([("lora", file)]))
        update["lora"] = _pinned_lora(settings.lora, file)
    return pinned(settings, folder).model_copy(update=update), "+".join(files)


def _pinned_lora(lora: LoraSettings, file: Path) -> LoraSettings:
    if Path(lora.path).expanduser().exists():
        return lora.model_copy(update={"path": str(file.resolve()), "file": None})
    snapshot = file.parents[len(Path(lora.file or "").parts) - 1]
    return lora.model_copy(update={"revision": snapshot.name})


def network_folder(network: DenoiserSettings | ControlNetSettings, what: str) -> Path:
    """The folder of one network, refused if it is half-copied or brings code.

    what: the field's name, for messages.
    """
    folder = Path(network.path).expanduser()
    if not folder.is_dir():
        _refuse_unless_hub_id(network.path, what)
        folder = hub_snapshot(network.path, network.revision, ["*.json", "*.safetensors"])
    refuse_code(folder)
    read_config(folder / "config.json")
    check_weights(folder, allow_pickle=False)
    return folder


def lora_file(lora: LoraSettings) -> Path:
    """The .safetensors file of a LoRA, refused if it is another kind of file or not whole."""
    path = Path(lora.path).expanduser()
    name = lora.file or path.name
    if not name.endswith(".safetensors"):
        raise ModelError(
            f"lora {lora.path!r}: {lora.file or 'no file is named, and'!r} a LoRA is loaded from a "
            ".safetensors file. Give it as `path`, or its folder or hub id as `path` and its name "
            "as `file`. A pickle (.bin, .pt) can run code when loaded: convert it where that does "
            "no harm."
        )
    if lora.file is None and path.is_file():
        file = path
    elif path.is_dir():
        file = path / name
    else:
        _refuse_unless_hub_id(lora.path, "lora")
        file = hub_snapshot(lora.path, lora.revision, [name]) / name
    if not file.is_file():
        raise ModelError(f"lora {lora.path!r} has no file {name!r}. Is the copy complete?")
    check_file(file)
    return file


def _refuse_unless_hub_id(path: str, what: str) -> None:
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise ModelError(
            f"{what} {path!r} is not here. Give a path that exists, or a hub id such as "
            "'owner/name'."
        )
