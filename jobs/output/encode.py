"""Encodes pictures as PNG, JPEG or WebP files."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from actors.facts import CallFacts
from jobs.spec.picture_formats import PictureFormat


def encode(
    picks: Sequence[tuple[int, int]],
    form: PictureFormat,
    *pictures: npt.NDArray[np.uint8],
) -> tuple[pa.BinaryArray, CallFacts]:
    """A file for each pick: (number of an array in `pictures`, row of that array).

    The files are an Arrow array, because tasks read that in the object store without a copy.

    pictures: each (rows, height, width, 3) uint8, as actors return them. The bytes depend on the
    pixels and the format alone.
    """
    start = perf_counter()
    files = [encode_one(pictures[which][row], form) for which, row in picks]
    array = pa.array(files, pa.binary())
    return array, CallFacts(len(files), perf_counter() - start, (array.nbytes,))


def encode_one(picture: npt.NDArray[np.uint8], form: PictureFormat) -> bytes:
    """One picture (height, width, 3) uint8 as the bytes of a file."""
    buffer = BytesIO()
    image = Image.fromarray(picture)
    match form.name:
        case "png":
            image.save(buffer, "PNG", compress_level=form.level)
        case "jpeg":
            # 4:4:4, because 4:2:0 smears the hard coloured edges of synthetic pictures.
            image.save(buffer, "JPEG", quality=form.quality, subsampling=0)
        case "webp" if form.lossless:
            # The fastest: on pictures like photographs the slowest takes ten times as long, for 2 %
            # fewer bytes.
            image.save(buffer, "WEBP", lossless=True, quality=0, method=0)
        case "webp":
            image.save(buffer, "WEBP", quality=form.quality, method=4)
    return buffer.getvalue()
