"""How much of a prompt a model reads, by its tokenizers; the rest changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PromptReader:
    """Tokenizers, each with the tokens that are read of it; a model may have several encoders."""

    tokenizers: tuple[tuple[Any, float], ...] = ()

    @property
    def tokens(self) -> float:
        """The most tokens that one of them reads; 0 without any."""
        return max((limit for _, limit in self.tokenizers), default=0)

    def cut(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """The places of the prompts that are longer than every tokenizer's limit."""
        cut = set(range(len(prompts))) if self.tokenizers else set()
        for tokenizer, limit in self.tokenizers:
            if cut:
                tokens = tokenizer(list(prompts), verbose=False).input_ids
                cut -= {place for place, ids in enumerate(tokens) if len(ids) <= limit}
        return tuple(sorted(cut))
