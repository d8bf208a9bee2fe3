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


def strength_for_steps(steps: int, whole_steps: int, rounding: Rounding = "down") -> float:
    """The `strength` with which diffusers' img2img takes the last `steps` of `whole_steps` steps.

    img2img takes whole_steps * strength of them, rounded down (Stable Diffusion, SDXL) or up (the
    flow-matching pipelines). Half a step on the safe side of that keeps the product's own rounding
    from mattering.
    """
    if steps == whole_steps:
        return 1.0
    return (steps + (0.5 if rounding == "down" else -0.5)) / whole_steps


def default_steps(strength: float, whole_steps: int) -> int:
    """Steps after a rollback to `strength`, as dense as a whole drawing of `whole_steps`."""
    # 1e-9 is above the rounding of the product: 0.55 * 100 is 55.00000000000001.
    return max(1, ceil(strength * whole_steps - 1e-9))


def level_at(strength: float, levels: Sequence[float]) -> float:
    """The noise at the timestep that is the fraction `strength`, in (0, 1], of all."""
    return levels[max(0, round(strength * len(levels)) - 1)]


def strength_for(level: float, levels: Sequence[float]) -> float:
    """The strength whose timestep has the noise nearest to `level`.

    `levels[t]` is the noise at timestep t of the teacher's schedule, t = 0 the cleanest: variances
    (1 - alphas_cumprod), or the sigmas of flow matching.
    """
    nearest = min(range(len(levels)), key=lambda t: abs(levels[t] - level))
    return (nearest + 1) / len(levels)
