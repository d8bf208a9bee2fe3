"""Makes each network of a pipeline by its configuration, without weights, and its tokenizers: in a
second, and before anything starts, instead of in an actor."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from actors.errors import ModelError
from actors.models.checks import INDEX, NOT_LOADED, ModelFolder, loaded_weights
from actors.models.file_reader import read_config
from actors.models.oracles.loading import open_processor
from actors.models.oracles.oracle_files import OracleFiles
from actors.models.pipeline_files import PipelineFiles, replaced
from actors.models.prompt_cuts import of_oracle
from actors.models.tokenizers import open_tokenizer
from actors.models.trial_networks import check_network, reason, rule_broken
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
                f"{pipeline.folder.path / INDEX} names no {name!r}, without which "
                f"{pipeline.pipeline_class} draws nothing. Copy the model again."
            )
    _check_index(pipeline)
    for where in (pipeline.folder.configs.get("vae/config.json"), _own_config(pipeline.vae)):
        _check_scale(pipeline, where or {})
    elsewhere = replaced(pipeline.settings)
    for name, (library, kind) in components.items():
        weights = [] if name in elsewhere else _weights(pipeline, name)
        _check(pipeline.folder, name, f"{name}/config.json", library, kind, weights=weights)
        if library == "transformers" and name not in NOT_LOADED:
            _check_reader(pipeline.folder, name, kind)
    for what in ("denoiser", "vae", "controlnet"):
        folder = getattr(pipeline, what)
        if folder:
            kind = str(folder.config("config.json").get("_class_name"))
            variant = getattr(pipeline.settings, what).variant
            weights = _safetensors(folder.path, variant)
            _check(folder, what, "config.json", "diffusers", kind, weights=weights)


def _check_index(pipeline: PipelineFiles[DiffusionSettings]) -> None:
    """Refuse a model_index.json without a component that the pipeline's class takes, or with
    something else in its place."""
    index, file = pipeline.folder.config(INDEX), pipeline.folder.path / INDEX
    kind = getattr(diffusers, pipeline.pipeline_class)
    optional = {*getattr(kind, "_optional_components", ())}
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        needed = parameter.default is parameter.empty
        value = index.get(name)
        if needed and name not in index and name not in optional:
            rule = "is not there, and a library and a class should be"
        elif value is not None and (needed or name in optional) and not isinstance(value, list):
            rule = f"is {str(value)[:100]!r}, and a library and a class are right"
        elif right := rule_broken(value, parameter.default):
            rule = f"is {str(value)[:100]!r}, and {right} is right"
        else:
            continue
        raise ModelError(f"{file}: {name} {rule}. Copy the model again.")


def _weights(pipeline: PipelineFiles[DiffusionSettings], name: str) -> list[Path]:
    """The files with the weights of a component; none of one that is not loaded."""
    folder = pipeline.folder.path / name
    if name in NOT_LOADED or not folder.is_dir():
        return []
    return _safetensors(folder, pipeline.settings.variant)


def _safetensors(folder: Path, variant: str | None) -> list[Path]:
    return [file for file in loaded_weights(folder, variant) if file.suffix == ".safetensors"]


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
        _check_own_network(oracle)
        open_processor(oracle.folder, oracle.settings)
    if not oracle.members:
        of_oracle(oracle)


def _check_own_network(oracle: OracleFiles[Any]) -> None:
    """Of an oracle in transformers' format."""
    folder = oracle.folder
    where = f"{folder / 'config.json'}: {{}} of transformers {transformers.__version__}"
    config = read_config(folder / "config.json")
    kind: Any = {"blip-itm": transformers.BlipForImageTextRetrieval}.get(oracle.settings.kind)
    try:
        made = transformers.AutoConfig.for_model(**config)
        if oracle.settings.kind == "classifier":
            kind = transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(made)]
    except Exception as error:  # whatever the first line raises that meets the value
        raise ModelError(
            f"{where.format('a model')} cannot be made: {reason(error)}. Copy the model again, or "
            "mend this file."
        ) from error
    kind = kind or transformers.CLIPModel
    check_network(kind, config, where.format(kind.__name__), _safetensors(folder, None))


def _check(
    folder: ModelFolder,
    name: str,
    file: str,
    library: str,
    kind: str,
    *,
    weights: Sequence[Path] = (),
) -> None:
    modules = {"diffusers": diffusers, "transformers": transformers}
    if file not in folder.configs or library not in modules:
        return
    where = f"{folder.path / file}: {kind} of {library} {modules[library].__version__}"
    try:
        made = getattr(modules[library], kind, None)
    except Exception as error:  # a class that needs another package, or of a wrong name
        raise ModelError(
            f"{where} cannot be had for {name!r}: {reason(error)}. Copy the model again."
        ) from error
    if made is None:
        raise ModelError(f"{where} does not exist. Update {library}, or choose another model.")
    if inspect.isclass(made) and issubclass(made, torch.nn.Module):
        check_network(made, folder.configs[file], where, weights)


def _check_reader(folder: ModelFolder, name: str, kind: str) -> None:
    """Open what reads prompts for a network: it is small, and has no weights."""
    made = getattr(transformers, kind, None)
    readers = (transformers.PreTrainedTokenizerBase, transformers.ProcessorMixin)
    if inspect.isclass(made) and issubclass(made, readers):
        open_tokenizer(made, folder.path / name)
