"""Encodes pictures as PNG, JPEG or WebP files."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from time import perf_counter

import numpy as np
import numpy.typing as npt
from PIL import Image

from actors.facts import CallFacts
from jobs.spec.job_spec import ImageFormat


def encode(
    picks: Sequence[tuple[int, int]],
    image_format: ImageFormat,
    quality: int,
    *pictures: npt.NDArray[np.uint8],
) -> tuple[list[bytes], CallFacts]:
    """A file for each pick: (number of an array in `pictures`, row of that array).

    pictures: each (rows, height, width, 3) uint8, as actors return them. quality: for JPEG and
    WebP; PNG is lossless. The bytes depend on the pixels alone.
    """
    start = perf_counter()
    files = [encode_one(pictures[which][row], image_format, quality) for which, row in picks]
    stored = sum(map(len, files))
    return files, CallFacts(len(files), perf_counter() - start, (stored,))


def encode_one(picture: npt.NDArray[np.uint8], image_format: ImageFormat, quality: int) -> bytes:
    """One picture (height, width, 3) uint8 as the bytes of a file."""
    buffer = BytesIO()
    image = Image.fromarray(picture)
    match image_format:
        case "png":
            image.save(buffer, "PNG")
        case "jpeg":
            # 4:4:4, because 4:2:0 smears the hard coloured edges of synthetic pictures.
            image.save(buffer, "JPEG", quality=quality, subsampling=0)
        case "webp":
            image.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()
