"""Oracles in transformers' CLIP format: CLIPScore, PickScore, HPSv2, and an aesthetic predictor.

The first three are one model with other weights and another scale. HPSv2 is published in
open_clip's format; `convert` brings it into this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp
from typing import Any

import torch
from torch.nn.functional import linear, normalize
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms
from transformers import AutoTokenizer, CLIPModel

from actors.errors import ModelError
from actors.images import Pictures
from actors.models.oracles.heads import RowByRow
from actors.models.oracles.loading import open_model, open_processor, read_tensors
from actors.models.oracles.oracle_files import AESTHETIC_HEAD, open_oracle_files
from actors.models.prompt_limits import PromptReader
from actors.models.tokenizers import open_tokenizer
from actors.settings import ScorerSettings

HEAD_LAYERS = (0, 2, 4, 6, 7)
"""The linear layers of improved-aesthetic-predictor's `linearMSE` heads; dropouts between them."""


class Clip:
    """The cosine of prompt and picture, on the scale of its kind.

    clip-score: times 100 (torchmetrics' CLIPScore, but not cut off at 0). pick-score: times the
    model's own logit scale (arXiv 2305.01569). hps-v2: as it is (arXiv 2306.09341).
    """

    def __init__(self, settings: ScorerSettings, device: torch.device) -> None:
        folder = open_oracle_files(settings).folder
        self.device = device
        self.model = open_model(CLIPModel, folder, settings).to(device)
        self.tokenizer = open_tokenizer(AutoTokenizer, folder)
        self.max_tokens = self.model.config.text_config.max_position_embeddings
        size = self.model.config.vision_config.image_size
        self.pixels: Any = (
            _Letterbox(size)
            if settings.kind == "hps-v2"
            else _Processor(open_processor(folder, settings))
        )
        scales = {"clip-score": 100.0, "pick-score": exp(self.model.logit_scale.item())}
        self.scale = scales.get(settings.kind, 1.0)

    def score(self, prompts: Sequence[str], pictures: Pictures) -> list[float]:
        """See `Scorer`. Prompts are cut where the model's text encoder ends, at 77 tokens."""
        text = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        with torch.inference_mode():
            found = self.model(
                input_ids=text["input_ids"],
                attention_mask=text["attention_mask"],
                pixel_values=self.pixels(pictures).to(self.device, self.model.dtype),
            )
            one, other = found.text_embeds.float(), found.image_embeds.float()
            cosines = (normalize(one, dim=-1) * normalize(other, dim=-1)).sum(-1)
        return [self.scale * float(cosine) for cosine in cosines.cpu()]

    def truncated(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """See `Scorer`."""
        return PromptReader(((self.tokenizer, self.max_tokens),)).cut(prompts)


class Aesthetic:
    """How much people like a picture, about 1 to 10, whatever its prompt.

    A head of linear layers on CLIP's normalised image embedding. Source:
    christophschuhmann/improved-aesthetic-predictor.
    """

    def __init__(self, settings: ScorerSettings, device: torch.device) -> None:
        folder = open_oracle_files(settings).folder
        self.device = device
        model = open_model(CLIPModel, folder, settings)
        self.encoder = model.vision_model.to(device)
        self.projection = model.visual_projection.to(device)
        self.pixels = _Processor(open_processor(folder, settings))
        head = read_tensors(folder / AESTHETIC_HEAD)
        names = {f"layers.{n}.{part}" for n in HEAD_LAYERS for part in ("weight", "bias")}
        if head.keys() != names:
            raise ModelError(
                f"{folder / AESTHETIC_HEAD} holds {sorted(head)[:3]}..., not the layers "
                f"{HEAD_LAYERS} of a linearMSE head of improved-aesthetic-predictor."
            )
        self.head = RowByRow(_linear({name: t.to(device).float() for name, t in head.items()}))

    def score(self, prompts: Sequence[str], pictures: Pictures) -> list[float]:
        """See `Scorer`. The prompts do not count."""
        with torch.inference_mode():
            pixels = self.pixels(pictures).to(self.device, self.encoder.dtype)
            encoded = self.encoder(pixel_values=pixels).pooler_output
            scores = self.head(normalize(self.projection(encoded).float(), dim=-1))
        return [float(score) for score in scores[:, 0].cpu()]

    def truncated(self, _prompts: Sequence[str]) -> tuple[int, ...]:
        """None: the prompts do not count."""
        return ()


def _linear(layers: dict[str, torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    def head(values: torch.Tensor) -> torch.Tensor:
        for n in HEAD_LAYERS:
            values = linear(values, layers[f"layers.{n}.weight"], layers[f"layers.{n}.bias"])
        return values

    return head


class _Processor:
    """Pictures -> pixel values, as the model's preprocessor_config.json says."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, pictures: Pictures) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(list(pictures), return_tensors="pt")["pixel_values"]
        return pixels


class _Letterbox:
    """Pictures -> pixel values as HPSv2 makes them: the longest edge fits, the rest is black."""

    MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, pictures: Pictures) -> torch.Tensor:
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        height, width = pixels.shape[-2:]
        scale = self.size / max(height, width)
        fitting = [round(height * scale), round(width * scale)]
        pixels = transforms.resize(pixels, fitting, InterpolationMode.BICUBIC, antialias=True)
        below, right = self.size - fitting[0], self.size - fitting[1]
        edges = [right // 2, below // 2, right - right // 2, below - below // 2]
        whole: torch.Tensor = transforms.pad(pixels, edges)
        return (whole - self.MEAN) / self.STD
