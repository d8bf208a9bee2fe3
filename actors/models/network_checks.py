"""Makes each network of a pipeline by its configuration, without weights, and its tokenizers: in a
second, and before anything starts, instead of in an actor."""

from __future__ import annotations

import inspect
from math import isfinite
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights

from actors.errors import ModelError
from actors.models.checks import NOT_LOADED, ModelFolder
from actors.models.oracles.loading import open_processor
from actors.models.oracles.oracle_files import OracleFiles
from actors.models.pipeline_files import PipelineFiles
from actors.models.prompt_cuts import of_oracle
from actors.models.tokenizers import open_tokenizer
from actors.settings import DiffusionSettings

SEE_BY_A_FILE = frozenset({"blip-itm", "clip-score", "pick-score", "aesthetic", "classifier"})
"""The kinds of oracles whose folder says how a picture becomes numbers."""


def check_networks(pipeline: PipelineFiles[DiffusionSettings]) -> None:
    """Refuse a pipeline without a network that it needs, or with one that cannot be made."""
    needed = [pipeline.family.denoiser, "vae"]
    components = pipeline.folder.components
    for name in needed:
        if name not in components:
            raise ModelError(
                f"{pipeline.folder.path / 'model_index.json'} names no {name!r}, without which "
                f"{pipeline.pipeline_class} draws nothing. Copy the model again."
            )
    for where in (pipeline.folder.configs.get("vae/config.json"), _own_config(pipeline.vae)):
        _check_scale(pipeline, where or {})
    for name, (library, kind) in components.items():
        _check(pipeline.folder, name, f"{name}/config.json", library, kind)
        if library == "transformers" and name not in NOT_LOADED:
            _check_reader(pipeline.folder, name, kind)
    for what in ("denoiser", "vae", "controlnet"):
        folder = getattr(pipeline, what)
        if folder:
            kind = folder.config("config.json").get("_class_name")
            _check(folder, what, "config.json", "diffusers", str(kind))


def _own_config(folder: ModelFolder | None) -> dict[str, Any] | None:
    return folder.configs.get("config.json") if folder else None


def _check_scale(pipeline: PipelineFiles[DiffusionSettings], config: dict[str, Any]) -> None:
    """Latents are divided by one of these numbers, and the other is added to them."""
    scale, shift = config.get("scaling_factor"), config.get("shift_factor")
    scale, shift = 1.0 if scale is None else scale, 0.0 if shift is None else shift
    if not (_is_finite(scale) and scale > 0 and _is_finite(shift)):
        raise ModelError(
            f"the autoencoder of {pipeline.settings.path!r} has the scaling_factor {scale!r} and "
            f"the shift_factor {shift!r}: a number above 0, and a number, are right. Copy the "
            "model again."
        )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def check_oracle(oracle: OracleFiles[Any]) -> None:
    """Refuse an oracle, or one beside it, whose files read no prompts or no pictures."""
    for one in (*oracle.members, *oracle.extras):
        check_oracle(one)
    if oracle.settings.kind in SEE_BY_A_FILE:
        open_processor(oracle.folder, oracle.settings)
    if not oracle.members:
        of_oracle(oracle)


def _check(folder: ModelFolder, name: str, file: str, library: str, kind: str) -> None:
    modules = {"diffusers": diffusers, "transformers": transformers}
    if file not in folder.configs or library not in modules:
        return
    where = f"{folder.path / file}: {kind} of {library} {modules[library].__version__}"
    try:
        made = getattr(modules[library], kind, None)
        if made is None:
            raise ModelError(f"{where} does not exist. Update {library}, or choose another model.")
        if inspect.isclass(made) and issubclass(made, torch.nn.Module):
            _make(made, folder.configs[file])
    except ModelError:
        raise
    except Exception as error:  # whatever the first line raises that meets the value
        why = " ".join(str(error).split()).rstrip(".")[:300]
        raise ModelError(
            f"{where} cannot be made for {name!r}: {why} ({type(error).__name__}). Copy the model "
            "again, or mend this file."
        ) from error


def _check_reader(folder: ModelFolder, name: str, kind: str) -> None:
    """Open what reads prompts for a network: it is small, and has no weights."""
    made = getattr(transformers, kind, None)
    readers = (transformers.PreTrainedTokenizerBase, transformers.ProcessorMixin)
    if inspect.isclass(made) and issubclass(made, readers):
        open_tokenizer(made, folder.path / name)


def _make(kind: Any, config: dict[str, Any]) -> None:
    """Make a network on no device, which takes no memory."""
    with init_empty_weights(include_buffers=True):
        if issubclass(kind, diffusers.ModelMixin):
            kind.from_config(dict(config))
        else:
            kind(kind.config_class.from_dict(dict(config)))
