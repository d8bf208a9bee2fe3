"""Loads an oracle in transformers' folder format, and reads tensors from a pickle safely."""

from __future__ import annotations

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoImageProcessor

from actors.errors import ModelError, said_by
from actors.models.bounded_memory import bounded
from actors.settings import ScorerSettings

LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, UnpicklingError)
"""Exceptions of the loaders for files that are damaged or of another model."""

TRUE = ("1", "y", "yes", "true")
"""The values of a variable that torch takes for yes."""


def open_model(kind: Any, folder: Path, settings: ScorerSettings) -> Any:
    """A model of transformers' class `kind`, in evaluation mode, on the CPU. Raises ModelError."""
    try:
        model, info = kind.from_pretrained(
            folder,
            dtype=getattr(torch, settings.dtype),
            use_safetensors=None if settings.allow_pickle else True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # whatever the first line of a library raises that meets the file
        raise ModelError(
            f"cannot load the oracle {settings.path!r}: {said_by(error)}. Copy the model again."
        ) from error
    refuse_missing(info["missing_keys"], settings)
    return model.eval()


def open_processor(folder: Path, settings: ScorerSettings) -> Any:
    """The processor that turns pictures into a model's input. Raises ModelError."""
    try:
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
        # It believes its file until it meets a picture, and may make one of any size of it.
        with bounded():
            processor([np.zeros((32, 32, 3), np.uint8)], return_tensors="pt")
        return processor
    except Exception as error:  # whatever the first line of a library raises that meets the file
        raise ModelError(
            f"cannot load the oracle {settings.path!r}: {said_by(error)}. Copy the model again."
        ) from error


def refuse_missing(names: Any, settings: ScorerSettings) -> None:
    """Refuse a model that lacks weights: transformers would fill them with random numbers."""
    missing = sorted(names)
    if missing:
        raise ModelError(
            f"model {settings.path!r} lacks {len(missing)} of the weights that kind "
            f"{settings.kind!r} needs, such as {missing[0]!r}. Is it a model of this kind, and is "
            "the copy complete?"
        )


def read_tensors(file: Path) -> dict[str, Any]:
    """The tensors of a .safetensors file, or of a pickle, from which nothing else is unpickled.

    Raises ModelError.
    """
    try:
        if file.suffix == ".safetensors":
            # Copied, since a file's tensors begin anywhere in memory, and the last bits of a CPU's
            # products depend on where (measured): so the same weights score the same in any file.
            return {name: tensor.clone() for name, tensor in load_file(file).items()}
        if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "").lower() in TRUE:
            raise ModelError(
                f"{file} is a pickle, and TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD asks torch to run what "
                "is in pickles. Unset it."
            )
        found = torch.load(file, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        raise ModelError(f"cannot read tensors from {file}: {said_by(error)}.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file} holds no tensors by name. Is it the right file?")
    return found
