"""Computes how far back the teacher goes, and in how many steps. Arithmetic only.

Two meanings of "rollback" are in use, and they are far apart: on SDXL's schedule strength 0.7 is
variance 0.917.

- *strength*: the fraction of the teacher's timesteps (diffusers' img2img, and the released code of
  arXiv 2312.10835).
- *variance*: the paper's sigma (section 3.2), x = sqrt(1 - s) x0 + sqrt(s) z.

Flow-matching models mix otherwise, x = (1 - s) x0 + s z: a third meaning, *sigma*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

Rounding = Literal["down", "up"]
Noise = Literal["diffusion", "flow", "angle"]

MIXING: dict[Noise, str] = {
    "diffusion": "x = sqrt(1-v) x0 + sqrt(v) z",
    "flow": "x = (1-s) x0 + s z (flow matching)",
    "angle": "x = cos(a) x0 + sin(a) z (TrigFlow)",
}
"""How a model mixes the picture x0 with noise z."""


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """A teacher's schedule. `levels`: how much noise each of its training timesteps has, the
    cleanest first, in the terms of MIXING[noise]; empty where it cannot refine."""

    noise: Noise
    num_timesteps: int
    levels: Sequence[float]


def steps_to_ask_for(strength: float, steps: int, rounding: Rounding = "down") -> int:
    """The `num_inference_steps` with which diffusers' img2img really takes `steps` steps.

    img2img takes num_inference_steps * strength steps, rounded down (Stable Diffusion, SDXL) or up
    (the flow-matching pipelines): a call that asks for 10 at strength 0.6 silently takes 6.
    `strength` is in (0, 1], `steps` at least 1.

    Of the numbers that give `steps`, the one whose first timestep is nearest to `strength`.
    `n * strength` grows by at most 1 with n, so no number of steps is jumped over; the search also
    absorbs the rounding of the product.
    """
    asked = max(1, round(steps / strength))
    while steps_taken(strength, asked, rounding) < steps:
        asked += 1
    while steps_taken(strength, asked, rounding) > steps:
        asked -= 1
    return asked


def steps_taken(strength: float, asked: int, rounding: Rounding) -> int:
    """The steps that diffusers' pipelines take of `asked`, by the arithmetic of `get_timesteps`."""
    if rounding == "down":
        return min(int(asked * strength), asked)
    return asked - int(max(asked - min(asked * strength, asked), 0))


def default_steps(strength: float, whole_steps: int) -> int:
    """Steps after a rollback to `strength`, as dense as a whole drawing of `whole_steps`."""
    # 1e-9 is above the rounding of the product: 0.55 * 100 is 55.00000000000001.
    return max(1, ceil(strength * whole_steps - 1e-9))


def strength_for(level: float, levels: Sequence[float]) -> float:
    """The strength whose timestep has the noise nearest to `level`.

    `levels[t]` is the noise at timestep t of the teacher's schedule, t = 0 the cleanest: variances
    (1 - alphas_cumprod), or the sigmas of flow matching.
    """
    nearest = min(range(len(levels)), key=lambda t: abs(levels[t] - level))
    return (nearest + 1) / len(levels)
