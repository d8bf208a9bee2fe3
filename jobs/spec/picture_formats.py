"""The formats in which pictures are stored, and the price of each: a core's time, and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ImageFormat = Literal["png", "jpeg", "webp"]

DEFAULT_QUALITY = 90
"""Of jpeg and webp. Measured: a 1,024-pixel photograph then takes a quarter of its PNG or less."""

DEFAULT_LEVEL = 6
"""Of png: zlib's own."""


@dataclass(frozen=True, slots=True)
class Price:
    """Of a pixel of a picture like a photograph: seconds of a core to encode it, and bytes."""

    seconds: float
    stored: float


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """How pictures are stored. quality: of jpeg and of webp with losses. level: of png.

    lossless: of webp; png always is, jpeg never.
    """

    name: ImageFormat
    quality: int = DEFAULT_QUALITY
    level: int = DEFAULT_LEVEL
    lossless: bool = False

    @property
    def label(self) -> str:
        """The format with its settings, for people."""
        match self.name:
            case "png":
                return f"png, level {self.level}"
            case "webp" if self.lossless:
                return "webp, lossless"
            case _:
                return f"{self.name}, quality {self.quality}"

    @property
    def price(self) -> Price:
        """The price of a pixel; of the nearest settings that were measured."""
        return PRICES[min(PRICES, key=self._distance)]

    def _distance(self, other: PictureFormat) -> tuple[bool, int]:
        another = (self.name, self.lossless) != (other.name, other.lossless)
        return another, abs(self.level - other.level) + abs(self.quality - other.quality)


PRICES: Mapping[PictureFormat, Price] = {
    PictureFormat("png", level=1): Price(1.3e-7, 2.30),
    PictureFormat("png"): Price(1.5e-7, 2.23),
    PictureFormat("png", level=9): Price(1.5e-7, 2.23),
    PictureFormat("webp", lossless=True): Price(3.8e-8, 2.00),
    PictureFormat("webp"): Price(1.5e-7, 0.45),
    PictureFormat("webp", quality=75): Price(1.3e-7, 0.25),
    PictureFormat("jpeg"): Price(8e-9, 0.58),
    PictureFormat("jpeg", quality=75): Price(7e-9, 0.32),
}
"""Measured on one core by `python -m benchmarks.formats`."""

PNG = PictureFormat("png")
"""The default."""
