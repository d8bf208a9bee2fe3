"""An oracle of transformers' image classifiers: the probability of one label.

Such as a filter for what is not safe for work. The prompts do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoModelForImageClassification

from actors.images import Pictures
from actors.models.oracles.heads import RowByRow
from actors.models.oracles.loading import open_model, open_processor
from actors.models.oracles.oracle_files import label_number, open_oracle_files
from actors.settings import ScorerSettings


class Classifier:
    """One loaded model."""

    def __init__(self, settings: ScorerSettings, device: torch.device) -> None:
        folder = open_oracle_files(settings).folder
        self.device = device
        self.model = open_model(AutoModelForImageClassification, folder, settings)
        if isinstance(head := getattr(self.model, "classifier", None), torch.nn.Linear):
            self.model.classifier = RowByRow(head.float())
        self.model.to(device)
        self.processor = open_processor(folder, settings)
        self.label = label_number(self.model.config.id2label, settings)

    def score(self, prompts: Sequence[str], pictures: Pictures) -> list[float]:
        """The probability of the label, 0 to 1, for each picture."""
        pixels = self.processor(list(pictures), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            logits = self.model(pixel_values=pixels.to(self.device, self.model.dtype)).logits
            chances = logits.float().softmax(-1)[:, self.label]
        return [float(chance) for chance in chances.cpu()]

    def truncated(self, _prompts: Sequence[str]) -> tuple[int, ...]:
        """None: the prompts do not count."""
        return ()
