"""Prompts longer than CLIP's 77 tokens, for Stable Diffusion and SDXL: read in several windows.

compel encodes each prompt in windows of as many tokens as CLIP reads, one after the other, and the
network attends to all of them. Every prompt has the same number of windows here, the rest of them
empty: so the rows of a batch have one shape, and a row does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from compel.embeddings_provider import (
    EmbeddingsProvider,
    ReturnedEmbeddingsType,
    SplitLongTextMode,
)


class LongPrompts:
    """The text encoders of a loaded pipeline, which read `windows` windows of a prompt."""

    def __init__(self, pipe: Any, windows: int, device: torch.device) -> None:
        self.windows, self.device = windows, device
        self._is_xl = hasattr(pipe, "tokenizer_2")
        self._zeros = self._is_xl and pipe.config.get("force_zeros_for_empty_prompt")
        pairs = [(pipe.tokenizer, pipe.text_encoder)]
        if self._is_xl:
            pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
        self._providers = [
            EmbeddingsProvider(
                tokenizer=tokenizer,
                text_encoder=encoder,
                truncate=False,
                # As diffusers' pipelines take them.
                returned_embeddings_type=ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED
                if self._is_xl
                else ReturnedEmbeddingsType.LAST_HIDDEN_STATES_NORMALIZED,
                # Cut where a window is full, so that it can be said how much is read.
                split_long_text_mode=SplitLongTextMode.BRUTAL,
                device=str(device),
            )
            for tokenizer, encoder in pairs
            if encoder is not None  # SDXL's refiner has the second alone.
        ]

    def arguments(
        self, prompts: Sequence[str], negatives: Sequence[str] | None, is_guided: bool
    ) -> dict[str, torch.Tensor]:
        """What a pipeline's call takes in place of its prompts."""
        found = self._encoded(prompts)
        if not is_guided or (negatives is None and self._zeros):
            return found  # The pipeline has zeros for no negative prompt.
        avoided = self._encoded(["" for _ in prompts] if negatives is None else negatives)
        return found | {f"negative_{name}": value for name, value in avoided.items()}

    def _encoded(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        rows = [self._row(text) for text in texts]
        found = {"prompt_embeds": torch.cat(rows)}
        if self._is_xl:
            # The pooled embedding is that of the first window, as published.
            last = self._providers[-1]
            pooled = [last.get_pooled_embeddings([text], device=self.device) for text in texts]
            found["pooled_prompt_embeds"] = torch.cat(pooled)
        return found

    def _row(self, text: str) -> torch.Tensor:
        """(1, windows * 77, width) of one prompt: alone, so that it does not depend on others."""
        found = []
        for provider in self._providers:
            whole = provider.get_embeddings_for_weighted_prompt_fragments(
                [[text]], [[1.0]], device=self.device
            )
            tokens = self.windows * provider.max_token_count
            missing = max(0, tokens - whole.shape[1]) // provider.max_token_count
            empty = provider.empty_z.to(whole.device, whole.dtype)
            found.append(torch.cat([whole, *[empty] * missing], dim=1)[:, :tokens])
        return torch.cat(found, dim=-1)
