"""ImageReward (arXiv 2304.05977) by its own package, in batches.

The package imports OpenAI's `clip` and its trainer, which scoring does not need, and its BERT is
written for transformers 4. So its scoring modules are imported by themselves, with the few names
that transformers 5 took away put back for them alone.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
import transformers
from accelerate import init_empty_weights
from PIL import Image
from transformers import BertTokenizer, modeling_utils, pytorch_utils

from actors.errors import ModelError, said_by
from actors.images import Pictures
from actors.models.oracles.heads import RowByRow
from actors.models.oracles.loading import read_tensors, refuse_missing
from actors.models.oracles.oracle_files import (
    MED_CONFIG,
    OracleFiles,
    open_oracle_files,
    reward_weights,
)
from actors.models.prompt_limits import PromptReader
from actors.models.tokenizers import open_tokenizer
from actors.settings import ScorerSettings

MAX_TOKENS = 35
"""The length to which the package cuts prompts."""


class ImageReward:
    """One loaded model. Scores are normalised: 0 is the mean of its training set, 1 its spread."""

    def __init__(self, settings: ScorerSettings, device: torch.device) -> None:
        self.device = device
        self.dtype = getattr(torch, settings.dtype)
        self.model = _loaded(open_oracle_files(settings), str(device))
        self.model.to(device, self.dtype).eval()
        # The head is in float32 whatever the other weights are, as in the package's `score`.
        self.model.mlp = RowByRow(self.model.mlp.float())

    def score(self, prompts: Sequence[str], pictures: Pictures) -> list[float]:
        """See `Scorer`. The package's own preprocessing, with PIL."""
        text = self.model.blip.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).to(self.device)
        pixels = torch.stack([self.model.preprocess(Image.fromarray(one)) for one in pictures])
        with torch.inference_mode():
            rewards = self.model.score_gard(
                text["input_ids"], text["attention_mask"], pixels.to(self.device, self.dtype)
            )
        return [float(reward) for reward in rewards[:, 0].cpu()]

    def truncated(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """See `Scorer`."""
        return PromptReader(((self.model.blip.tokenizer, MAX_TOKENS),)).cut(prompts)


def _loaded(files: OracleFiles[ScorerSettings], device: str) -> Any:
    settings, folder = files.settings, files.folder
    weights = read_tensors(reward_weights(folder))
    try:
        tokenizer = open_tokenizer(BertTokenizer, files.tokenizer)
        tokenizer.add_special_tokens({"bos_token": "[DEC]"})
        tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
        # Without values: a random start for 450 million weights takes longer than loading them.
        with init_empty_weights(include_buffers=False):
            model = _package().ImageReward(str(folder / MED_CONFIG), device=device)
        # Only its training uses these.
        model.blip.vision_proj = model.blip.text_proj = torch.nn.Identity()
        missing = model.load_state_dict(weights, strict=False, assign=True).missing_keys
    except ModelError:
        raise
    except Exception as error:  # whatever the first line of a library raises that meets the file
        raise ModelError(
            f"cannot load the oracle {settings.path!r}: {said_by(error)}. Copy the model again."
        ) from error
    refuse_missing([name for name in missing if not name.endswith("position_ids")], settings)
    words = model.blip.text_encoder.embeddings.word_embeddings.num_embeddings
    if len(tokenizer) != words:
        raise ModelError(
            f"model {settings.path!r} knows {words} tokens and its tokenizer {len(tokenizer)}. Use "
            "bert-base-uncased's."
        )
    model.blip.tokenizer = tokenizer
    return model


@cache
def _package() -> ModuleType:
    """The package's module `ImageReward.ImageReward`, imported with only what it needs."""
    found = find_spec("ImageReward")
    if found is None or not found.submodule_search_locations:
        raise ModelError("the package image-reward is not installed: pip install image-reward")
    root = next(iter(found.submodule_search_locations))
    with _alone("ImageReward", root), _names_of_transformers_4(), _quiet():
        module = import_module("ImageReward.ImageReward")
        pretrained = sys.modules["ImageReward.models.BLIP.blip_pretrain"]
        bert = sys.modules["ImageReward.models.BLIP.med"].BertModel
    pretrained.init_tokenizer = lambda: None  # type: ignore[attr-defined]
    bert.all_tied_weights_keys = {}
    bert.get_head_mask = lambda self, mask, layers: [None] * layers
    bert.invert_attention_mask = _invert_attention_mask
    return module


def _invert_attention_mask(bert: Any, mask: torch.Tensor) -> torch.Tensor:
    """transformers 4's, for masks of (rows, tokens): 0 where to look, and else the least number."""
    hidden = 1.0 - mask[:, None, None, :].to(bert.dtype)
    return hidden * torch.finfo(bert.dtype).min


@contextmanager
def _alone(name: str, root: str) -> Iterator[None]:
    """Import from the package without running its `__init__`s; afterwards it is as if not imported,
    so that a user's own `import ImageReward` gets the whole of it."""
    before = {key: value for key, value in sys.modules.items() if key.split(".")[0] == name}
    for key in before:
        del sys.modules[key]
    for key, folder in ((name, root), (f"{name}.models", f"{root}/models")):
        shell = ModuleType(key)
        shell.__path__ = [folder]
        sys.modules[key] = shell
    try:
        yield
    finally:
        for key in [key for key in sys.modules if key.split(".")[0] == name]:
            del sys.modules[key]
        sys.modules.update(before)


@contextmanager
def _names_of_transformers_4() -> Iterator[None]:
    """Names that the package imports and scoring does not call (they prune and train)."""
    names = ("apply_chunking_to_forward", "prune_linear_layer", "find_pruneable_heads_and_indices")
    missing = [name for name in names if not hasattr(modeling_utils, name)]
    for name in missing:
        setattr(modeling_utils, name, getattr(pytorch_utils, name, None))
    try:
        yield
    finally:
        for name in missing:
            delattr(modeling_utils, name)


@contextmanager
def _quiet() -> Iterator[None]:
    """The package silences every warning of the process when it is imported; we put them back."""
    verbosity = transformers.logging.get_verbosity()
    with warnings.catch_warnings():
        yield
    transformers.logging.set_verbosity(verbosity)
