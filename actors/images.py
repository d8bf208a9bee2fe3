"""The pictures of an input: opened, brought to the model's size, and made into what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from warnings import catch_warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from actors.errors import InputError
from actors.refinement import Given

Pictures = npt.NDArray[np.uint8]
"""(rows, height, width, 3), uint8 RGB."""


def prepared(images: Sequence[bytes | str], given: Given, width: int, height: int) -> Pictures:
    """The rows' pictures as student and teacher take them: (rows, height, width, 3), uint8.

    images: each the bytes of a file, or its path. Raises InputError for one that cannot be read.
    """
    opened = [open_image(image, width, height) for image in images]
    if given.canny:
        opened = [edges_of(picture, *given.canny) for picture in opened]
    return np.stack(opened)


def open_image(image: bytes | str, width: int, height: int) -> Pictures:
    """One picture, (height, width, 3) uint8: upright, on white where it is transparent, resized.

    Resized as diffusers' pipelines do, to the very size, whatever its shape was.
    """
    named = repr(image) if isinstance(image, str) else f"of {len(image)} bytes"
    bombs = (Image.DecompressionBombWarning, Image.DecompressionBombError)
    try:
        with (
            catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(image if isinstance(image, str) else BytesIO(image)) as file,
        ):
            picture = _as_rgb(ImageOps.exif_transpose(file))
    except (OSError, ValueError, SyntaxError, *bombs) as error:
        raise InputError(f"the picture {named} cannot be read: {error}") from error
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture, dtype=np.uint8)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Depth maps come in 16 bits a pixel; Pillow would cut off everything above 255.
        grey = (np.asarray(image, dtype=np.float64) / 257).round().clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def edges_of(picture: Pictures, low: int, high: int) -> Pictures:
    """Canny's edges, white on black, as ControlNets of that name were trained on."""
    import cv2

    edges = cv2.Canny(picture, low, high)
    return np.repeat(np.asarray(edges, dtype=np.uint8)[:, :, None], 3, axis=2)
