"""The oracles: each takes prompts and pictures, and gives scores.

`open_oracle` is the one way to a loaded oracle; `oracle_files` finds and checks its files. A kind's
module is imported only when a job names that kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from actors.images import Pictures, squares
from actors.settings import OracleSettings, ScorerSettings, SquareFit

if TYPE_CHECKING:
    import torch


class Scorer(Protocol):
    """One loaded oracle."""

    def score(self, prompts: Sequence[str], pictures: Pictures) -> list[float]:
        """One score a row, higher is better; the scale is the oracle's own.

        pictures: (rows, height, width, 3) uint8. A row's score does not depend on its neighbours.
        """

    def truncated(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """The places of the prompts of which only the beginning counts."""


def open_oracle(settings: ScorerSettings, device: torch.device) -> Scorer:
    """Load what the settings name. Raises ModelError."""
    opened = _open(settings, device)
    return opened if settings.fit is None else Fitted(opened, settings.fit)


def _open(settings: ScorerSettings, device: torch.device) -> Scorer:
    match settings.kind:
        case "blip-itm":
            from actors.models.oracles.blip import Retrieval

            return Retrieval(settings, device)
        case "image-reward":
            from actors.models.oracles.image_reward import ImageReward

            return ImageReward(settings, device)
        case "clip-score" | "pick-score" | "hps-v2":
            from actors.models.oracles.clip import Clip

            return Clip(settings, device)
        case "aesthetic":
            from actors.models.oracles.clip import Aesthetic

            return Aesthetic(settings, device)
        case "classifier":
            from actors.models.oracles.classifier import Classifier

            return Classifier(settings, device)
        case "ensemble":
            assert isinstance(settings, OracleSettings)
            return Ensemble(
                [open_oracle(member, device) for member in settings.members],
                [member.weight for member in settings.members],
            )
        case _:
            from actors.models.oracles.own import OwnOracle

            return OwnOracle(settings)


class Fitted:
    """An oracle that is shown squares, made in the way that the job wants."""

    def __init__(self, scorer: Scorer, fit: SquareFit) -> None:
        self.scorer, self.fit = scorer, fit

    def score(self, prompts: Sequence[str], pictures: Pictures) -> list[float]:
        """See `Scorer`."""
        return self.scorer.score(prompts, squares(pictures, self.fit))

    def truncated(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """See `Scorer`."""
        return self.scorer.truncated(prompts)


class Ensemble:
    """The weighted sum of other oracles' scores."""

    def __init__(self, members: Sequence[Scorer], weights: Sequence[float]) -> None:
        self.members, self.weights = members, weights

    def score(self, prompts: Sequence[str], pictures: Pictures) -> list[float]:
        """See `Scorer`."""
        scores = zip(*(member.score(prompts, pictures) for member in self.members), strict=True)
        return [
            sum(weight * one for weight, one in zip(self.weights, row, strict=True))
            for row in scores
        ]

    def truncated(self, prompts: Sequence[str]) -> tuple[int, ...]:
        """See `Scorer`."""
        return tuple(sorted({row for member in self.members for row in member.truncated(prompts)}))
