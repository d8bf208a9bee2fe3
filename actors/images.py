"""The pictures of an input: opened, brought to the model's size, and made into what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from errno import EACCES, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR
from io import BytesIO
from warnings import catch_warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from actors.errors import InputError
from actors.refinement import Given

Pictures = npt.NDArray[np.uint8]
"""(rows, height, width, 3), uint8 RGB."""


Unreadable = tuple[tuple[int, str], ...]
"""Which of some pictures cannot be read, and why."""

LASTING = (None, ENOENT, ENOTDIR, EISDIR, EACCES, ENAMETOOLONG)
"""Errors of a picture that will be the same the next time. Others are the file system's."""


def prepared(
    images: Sequence[bytes | str], given: Given, width: int, height: int
) -> tuple[Pictures, Unreadable]:
    """The rows' pictures as student and teacher take them: (rows, height, width, 3), uint8.

    images: each the bytes of a file, or its path. One that cannot be read is white, and told of:
    of a million pictures some are broken, and that is no fault of the actor or of its neighbours.
    """
    pictures = np.full((len(images), height, width, 3), 255, np.uint8)
    unreadable = []
    for place, image in enumerate(images):
        try:
            opened = open_image(image, width, height)
        except InputError as error:
            unreadable.append((place, str(error)))
            continue
        pictures[place] = edges_of(opened, *given.canny) if given.canny else opened
    return pictures, tuple(unreadable)


def open_image(image: bytes | str, width: int, height: int) -> Pictures:
    """One picture, (height, width, 3) uint8: upright, on white where it is transparent, resized.

    Resized as diffusers' pipelines do, to the very size, whatever its shape was. Raises InputError.
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
        if getattr(error, "errno", None) not in LASTING:
            raise
        # Pillow names an object in memory, and a row's error must be the same on every cluster.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is in no format that Pillow knows" if unknown else error
        raise InputError(f"the picture {named} cannot be read: {reason}") from error
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
