"""An oracle in transformers' BLIP image-text retrieval format.

ImageReward is this architecture with a regression head (arXiv 2304.05977, section 3.2); the
embedded oracle is this architecture, small.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoTokenizer, BlipForImageTextRetrieval

from actors.images import Pictures
from actors.models.oracles.loading import open_model, open_processor
from actors.models.oracles.oracle_files import open_oracle_files
from actors.models.prompt_limits import PromptReader
from actors.models.tokenizers import open_tokenizer
from actors.settings import ScorerSettings


class Retrieval:
    """One loaded model."""

    def __init__(self, settings: ScorerSettings, device: torch.device) -> None:
        folder = open_oracle_files(settings).folder
        self.device = device
        self.model = open_model(BlipForImageTextRetrieval, folder, settings).to(device)
        self.processor = open_processor(folder, settings)
        self.tokenizer = open_tokenizer(AutoTokenizer, folder)

    def score(self, prompts: Sequence[str], pictures: Pictures) -> list[float]:
        """One score a row: the logit of "they match" minus that of "they do not"."""
        text = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, return_tensors="pt"
        ).to(self.device)
        pixels = self.processor(list(pictures), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            logits = self.model(
                input_ids=text["input_ids"],
                attention_mask=text["attention_mask"],
                pixel_values=pixels.to(self.device, self.model.dtype),
                use_itm_head=True,
            ).itm_score
        return [float(score) for score in (logits[:, 1] - logits[:, 0]).float().cpu()]

    def truncated(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """See `Scorer`."""
        return PromptReader(((self.tokenizer, self.tokenizer.model_max_length),)).cut(prompts)
