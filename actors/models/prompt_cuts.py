"""Which prompts are longer than the models of a job read, by their files: no weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from math import inf
from typing import Any

import diffusers
import transformers

from actors.errors import ModelError, said_by
from actors.models.oracles.oracle_files import OracleFiles, open_oracle_files
from actors.models.pipeline_files import PipelineFiles, open_pipeline_files
from actors.models.prompt_limits import PromptReader
from actors.models.tokenizers import open_tokenizer
from actors.settings import DiffusionSettings, ModelSettings, ScorerSettings

TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
"""Of diffusers' pipelines."""


def cut_prompts(models: ModelSettings, prompts: Sequence[str]) -> dict[str, int]:
    """Role -> how many of the prompts it does not read to the end. Raises ModelError."""
    readers = {
        "student": of_pipeline(open_pipeline_files(models.student)),
        "oracle": of_oracle(open_oracle_files(models.oracle)),
        "teacher": of_pipeline(open_pipeline_files(models.teacher)),
    }
    return {role: len(reader.cut(prompts)) for role, reader in readers.items()}


def of_pipeline(files: PipelineFiles[Any]) -> PromptReader:
    """The reader of a pipeline that is not loaded."""
    found = []
    for name in TOKENIZERS:
        library, kind = files.folder.components.get(name, ("", ""))
        if library == "transformers":
            found.append(open_tokenizer(getattr(transformers, kind), files.folder.path / name))
    call = getattr(diffusers, files.pipeline_class).__call__
    return reader_of(found, call, files.settings, files.family.condition)


def reader_of(
    tokenizers: Sequence[Any], call: Any, settings: DiffusionSettings, condition: str | None
) -> PromptReader:
    """The reader of a pipeline with these tokenizers.

    An encoder's limit is its tokenizer's, or the `max_sequence_length` that the pipeline has by
    default (256 in Stable Diffusion 3).
    """
    if condition == "pictures":
        return PromptReader()  # Such a pipeline reads a whole prompt, whatever its default is.
    asked = signature(call).parameters.get("max_sequence_length")
    most = (settings.prompt_tokens or asked.default) if asked else inf
    # Some pipelines have a processor of pictures and text in its place, without a limit.
    limited = [one for one in tokenizers if hasattr(one, "model_max_length")]
    windows = settings.prompt_windows
    return PromptReader(
        tuple(
            # The two marks of each window but one make no room for the prompt.
            (one, min(windows * (one.model_max_length - 2) + 2, most))
            for one in limited
        )
    )


def of_oracle(files: OracleFiles[Any]) -> PromptReader:
    """The reader of an oracle that is not loaded; of an ensemble, that of the shortest member."""
    settings: ScorerSettings = files.settings
    if files.members:
        readers = [of_oracle(member) for member in files.members]
        return min((one for one in readers if one.tokens), key=_tokens, default=PromptReader())
    if settings.kind == "image-reward":
        from actors.models.oracles.image_reward import MAX_TOKENS

        tokenizer = open_tokenizer(transformers.BertTokenizer, files.tokenizer)
        return PromptReader(((tokenizer, MAX_TOKENS),))
    if settings.kind in ("clip-score", "pick-score", "hps-v2", "blip-itm"):
        tokenizer = open_tokenizer(transformers.AutoTokenizer, files.folder)
        try:
            config = transformers.AutoConfig.from_pretrained(files.folder).text_config
            most = inf if settings.kind == "blip-itm" else config.max_position_embeddings
        except Exception as error:  # whatever the first line raises that meets the value
            raise ModelError(
                f"{files.folder / 'config.json'} is no configuration of transformers "
                f"{transformers.__version__}: {said_by(error)}. Copy the model again."
            ) from error
        return PromptReader(((tokenizer, min(tokenizer.model_max_length, most)),))
    return PromptReader()  # a head on pictures, or a class of the user's own


def _tokens(reader: PromptReader) -> float:
    return reader.tokens
