"""Compares two pipelines' autoencoders: whether latents mean the same to both."""

from __future__ import annotations

from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from actors.models.checks import loaded_weights
from actors.models.file_reader import FileReader
from actors.models.pipeline_files import PipelineFiles
from actors.settings import DiffusionSettings

NOT_IN_LATENTS = frozenset({"sample_size", "force_upcast"})
"""Fields of an autoencoder that say how it is computed, in which tiles and precision, and not what
its latents mean."""

Pipeline = PipelineFiles[DiffusionSettings]


def autoencoder_difference(one: Pipeline, other: Pipeline, reader: FileReader) -> str | None:
    """What differs between two autoencoders, in words; None where latents mean the same to both.

    Configurations are compared with the defaults of their class filled in, and weights by content.
    """
    files = [_weights(pipeline) for pipeline in (one, other)]
    if files[0] == files[1]:
        return None
    written = [pipeline.vae_config for pipeline in (one, other)]
    configs = [_meaning(config, {}) for config in written]
    if configs[0] != configs[1]:  # diffusers takes seconds to import, and so much a plan
        configs = [_meaning(config, _defaults(config)) for config in written]
    for name in sorted(configs[0].keys() | configs[1].keys()):
        values = [config.get(name) for config in configs]
        if values[0] != values[1]:
            return f"their autoencoders differ in {name} ({values[0]} and {values[1]})"
    # Whole files first: they are hashed anyway.
    contents = [reader.hash_contents(weights) for weights in files]
    if contents[0] != contents[1]:
        contents = [reader.hash_tensors(weights) for weights in files]
    return None if contents[0] == contents[1] else "their autoencoders have different weights"


def _weights(pipeline: Pipeline) -> list[Path]:
    if pipeline.vae_file:
        return [pipeline.vae_file]
    folder = pipeline.vae.path if pipeline.vae else pipeline.folder.path / "vae"
    return loaded_weights(folder, pipeline.vae_variant)


def _meaning(config: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A configuration with its class's defaults, and without remarks (`_diffusers_version`)."""
    whole = {**defaults, **config, "class": config.get("_class_name")}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in whole.items()
        if not name.startswith("_") and name not in NOT_IN_LATENTS
    }


def _defaults(config: dict[str, Any]) -> dict[str, Any]:
    """The defaults of a configuration's class; none for a class that diffusers does not have."""
    import diffusers  # here, so that a plan seldom needs it

    found = getattr(diffusers, str(config.get("_class_name")), None)
    if found is None:
        return {}
    parameters = signature(found.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not Parameter.empty}
