"""An oracle in transformers' BLIP image-text retrieval format.

ImageReward is this architecture with a regression head (arXiv 2304.05977, section 3.2); the
embedded oracle is this architecture, small.
"""

from __future__ import annotations

from collections.abc import Sequence
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

from actors.errors import ModelError
from actors.models.diffusion import Pictures
from actors.models.folders import check_folder
from actors.settings import OracleSettings


class Retrieval:
    """One loaded model."""

    def __init__(self, settings: OracleSettings, device: torch.device) -> None:
        folder = check_folder(settings)
        self.device = device
        try:
            self.model = BlipForImageTextRetrieval.from_pretrained(
                folder,
                dtype=getattr(torch, settings.dtype),
                use_safetensors=None if settings.allow_pickle else True,
                trust_remote_code=False,
            )
            self.processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
            self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError, SafetensorError, UnpicklingError) as error:
            raise ModelError(f"cannot load the oracle {settings.path!r}: {error}") from error
        self.model.to(device).eval()

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
