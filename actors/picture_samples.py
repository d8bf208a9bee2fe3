"""What the samples of a picture's file mean, where Pillow does not say: how many bits they have,
which of them is white, which is transparent.

Pillow gives pixels of 8 bits, or those of greys as they lie in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

_WHITE_IS_ZERO = 0
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_SIGNED = 2
"""Tags and values of TIFF 6.0."""

_CODESTREAM = b"\xff\x4f\xff\x51"
"""SOC and SIZ, with which JPEG 2000's codestream begins (ISO 15444-1, A.4.1 and A.5.1)."""


@dataclass(frozen=True, slots=True)
class Greys:
    """Of a picture of greys. white: its value. transparent: the value of what is transparent."""

    white: int = 65_535
    is_inverted: bool = False
    transparent: int | None = None


def greys_of(image: Image.Image) -> Greys:
    """What the greys of an opened file mean; nothing of other pictures.

    Raises ValueError for samples whose meaning is not certain.
    """
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        bits = tags.get(_BITS, (1,))[0]
        if bits == 8 and _SIGNED in _all(tags.get(_SAMPLE_FORMAT, 1)):
            raise ValueError("its samples are signed; save it with 8 or 16 unsigned bits a sample")
        return Greys(
            white=(1 << bits) - 1 if 8 < bits < 16 else 65_535,
            is_inverted=image.mode.startswith("I") and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO,
        )
    value = image.info.get("transparency")
    if image.format == "PNG" and isinstance(value, int):
        bits = _head(image, 25)[24]
        # As Pillow scales the pixels to 8 bits; those of 16 stay as they are.
        return Greys(transparent=value * 255 // ((1 << bits) - 1) if bits < 8 else value)
    return Greys()


def as_pixels(image: Image.Image) -> Image.Image:
    """The picture itself, or another with the pixels that it should have: Pillow cuts samples of
    JPEG 2000 and transparent colours of PNG to their lower bits.

    Raises ValueError where they cannot be read with certainty.
    """
    if image.format == "JPEG2000":
        bits = set(_jpeg2000_bits(_head(image)))
        if bits == {8} or (image.mode == "I;16" and bits <= set(range(9, 17))):
            return image
        if bits == {16} and image.mode in ("RGB", "RGBA"):
            return _by_opencv(image)
        raise ValueError(
            "its samples of JPEG 2000 are not of 8 or 16 bits each; save it with 8 bits a sample"
        )
    is_keyed = image.format == "PNG" and image.mode == "RGB" and "transparency" in image.info
    return _by_opencv(image) if is_keyed and _head(image, 25)[24] == 16 else image


def _by_opencv(image: Image.Image) -> Image.Image:
    """A picture of 16 bits a sample, with 8, and alpha where the file says what is transparent."""
    import cv2

    read = cv2.imdecode(np.frombuffer(_head(image), np.uint8), cv2.IMREAD_UNCHANGED)
    height, width = image.height, image.width
    needs = 4 if image.mode == "RGBA" or "transparency" in image.info else 3
    if read is None or read.dtype != np.uint16 or read.shape != (height, width, needs):
        raise ValueError("its samples of 16 bits cannot be read; save it with 8 bits a sample")
    samples = (read.astype(np.float64) / 257).round().astype(np.uint8)
    order = [2, 1, 0, 3][:needs]  # OpenCV has blue first
    return Image.fromarray(np.ascontiguousarray(samples[..., order]))


def _all(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _head(image: Image.Image, length: int = -1) -> bytes:
    """The first bytes of an opened file whose pixels are not decoded yet; -1: all of them."""
    file: Any = image.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    content: bytes = file.read(length)
    file.seek(place)
    return content


def _jpeg2000_bits(content: bytes) -> list[int]:
    """Bits of each component; of signed ones -1. Empty where the file does not say it."""
    file = BytesIO(content)
    while content[file.tell() :][:4] != _CODESTREAM:
        length, kind = int.from_bytes(file.read(4)), file.read(4)
        header = 8
        if length == 1:
            length, header = int.from_bytes(file.read(8)), 16
        if kind == b"jp2c":
            break
        if length < header:
            return []
        file.seek(length - header, 1)
    begin = file.tell()
    if content[begin : begin + 4] != _CODESTREAM:
        return []
    count = int.from_bytes(content[begin + 40 : begin + 42])
    each = content[begin + 42 : begin + 42 + 3 * count : 3]
    return [-1 if one & 0x80 else one + 1 for one in each]
