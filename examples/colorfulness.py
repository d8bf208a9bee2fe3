"""An oracle of one's own: how colourful a picture is, whatever its prompt.

Source: Hasler and Süsstrunk, Measuring colorfulness in natural images, 2003. Run it with

    PYTHONPATH=examples bottega run examples/own_oracle.yaml
"""

import numpy as np


class Colorfulness:
    """Any class will do that has this method. `options` of the job file go to `__init__`."""

    def __init__(self, mean_weight: float = 0.3) -> None:
        self.mean_weight = mean_weight

    def score(self, prompts: list[str], pictures: np.ndarray) -> list[float]:
        """One score a row. pictures: (rows, height, width, 3) uint8 RGB."""
        red, green, blue = np.moveaxis(pictures.astype(np.float64), -1, 0)
        opponents = np.stack([red - green, (red + green) / 2 - blue])
        spread = np.linalg.norm(opponents.std(axis=(2, 3)), axis=0)
        mean = np.linalg.norm(opponents.mean(axis=(2, 3)), axis=0)
        return (spread + self.mean_weight * mean).tolist()
