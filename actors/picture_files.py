"""Opens picture files of strangers: the formats that this lists, and not more pixels than it says.

Whatever shows, checks or draws from a picture opens it here: those of an input, and those of a
dataset, which may be somebody else's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from stat import S_ISREG
from warnings import catch_warnings

from PIL import Image
from pillow_heif import register_heif_opener

register_heif_opener()

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF", "JPEG2000")
"""The formats that are opened. Pillow knows more, and hands some to other programs (EPS)."""

LONGEST_SIDE = 65_535
"""Pixels; JPEG has no longer one. Pillow's own limit is on the product of both (89 million): a file
of 155 kB with 1 x 80,000,000 pixels took 2.3 GB when it was resized."""

PILLOW_ERRORS = (
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, OverflowError),
    *(struct.error, RuntimeError, Image.DecompressionBombWarning, Image.DecompressionBombError),
)
"""Everything that Pillow, and what it calls, raises for broken files."""


@contextmanager
def open_picture(picture: bytes | str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Open the bytes of a file, or the file at a path. Its pixels are not decoded yet.

    Raises one of PILLOW_ERRORS, of which UnidentifiedImageError means a format that is none of
    FORMATS, or an OSError of the file system; both also when the pixels are decoded.
    """
    with (
        catch_warnings(action="error", category=Image.DecompressionBombWarning),
        Image.open(_file(picture), formats=FORMATS) as image,
    ):
        if max(image.size) > LONGEST_SIDE:
            raise ValueError(
                f"it has {image.width:,} x {image.height:,} pixels; a side may have "
                f"{LONGEST_SIDE:,}"
            )
        yield image


def _file(picture: bytes | str | os.PathLike[str]) -> str | os.PathLike[str] | BytesIO:
    if isinstance(picture, bytes):
        return BytesIO(picture)
    if not S_ISREG(os.stat(picture).st_mode):
        raise ValueError("it is no file")  # a pipe would keep the reader waiting
    return picture
