"""Opens a tokenizer, or says why it cannot read prompts.

transformers (5.23) makes a tokenizer without its vocabulary too, and says nothing. It knows no
word: every prompt would be drawn, or judged, as the same few unknown tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from actors.errors import ModelError, said_by

WHOLE = "tokenizer.json"
"""Vocabulary and rules in one file; the older ones of a class count where all of them are there."""

MOST_TOKENS = 64
"""Of the prompt with which a tokenizer is tried; some have no limit of their own."""


def open_tokenizer(kind: Any, folder: Path) -> Any:
    """A tokenizer, or a processor with one, of transformers' class `kind`. Raises ModelError."""
    where = f"{folder}: {kind.__name__} of transformers {transformers.__version__}"
    if not folder.is_dir():
        raise ModelError(f"{folder} is not there, and a tokenizer should be. Copy the model again.")
    try:
        opened = kind.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        tokenizer = getattr(opened, "tokenizer", opened)
        if isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
            most = min(tokenizer.model_max_length, MOST_TOKENS)
            padding = "max_length" if tokenizer.pad_token is not None else False
            tokenizer(["a"], padding=padding, truncation=True, max_length=most)
    except Exception as error:  # whatever the first line raises that meets the value
        raise ModelError(
            f"{where} cannot be loaded: {said_by(error)}. Copy the model again."
        ) from error
    names = getattr(tokenizer, "vocab_files_names", {})
    if names and not _has_vocabulary(folder, {*names.values()}):
        raise ModelError(
            f"{where} cannot be loaded: there is no vocabulary in the folder, which is {WHOLE!r} "
            f"or {' and '.join(sorted({*names.values()} - {WHOLE})) or 'nothing else'}. Copy the "
            "model again."
        )
    return opened


def _has_vocabulary(folder: Path, names: set[str]) -> bool:
    older = names - {WHOLE}
    return (
        (folder / WHOLE).is_file()
        or (bool(older) and all((folder / name).is_file() for name in older))
        or any(folder.glob("*.model"))  # SentencePiece's, which a class may read unnamed
    )
