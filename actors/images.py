"""Opens the pictures of an input, brings them to the model's size, and finds edges in them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from errno import EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from actors.errors import InputError
from actors.facts import PermanentFailures
from actors.picture_files import FORMATS, PILLOW_ERRORS, open_picture
from actors.picture_repair import repaired
from actors.picture_samples import Greys, as_pixels, greys_of
from actors.refinement import Conditioning, Fit, Size
from actors.settings import SquareFit

Pictures = npt.NDArray[np.uint8]
"""(rows, height, width, 3), uint8 RGB."""

MOST_MENDED_BYTES = 2**30
"""Of a file whose metadata are broken, as it is read whole. Chosen: ten of the largest pictures."""

BEGINNINGS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"RIFF": "WEBP",
    b"\0\0\0\x0cjP": "JPEG2000",
}

PERMANENT_ERRNOS = (None, ENOENT, ENOTDIR, EISDIR, ENAMETOOLONG)
"""Errors of a picture that a retry meets again; None: Pillow's own, about the content. Any other
is the file system's, and may pass."""


def prepared(
    images: Sequence[bytes | str], conditioning: Conditioning, width: int, height: int
) -> tuple[Pictures, PermanentFailures]:
    """The rows' pictures as student and teacher take them: (rows, height, width, 3), uint8.

    images: each the bytes of a file, or its path. A picture that cannot be read is white, and its
    place is among the failures: of a million pictures some are broken, which is no fault of the
    actor or of the other rows.
    """
    pictures = np.full((len(images), height, width, 3), 255, np.uint8)
    failures = []
    for place, image in enumerate(images):
        try:
            opened = open_image(image, width, height, conditioning.fit)
        except InputError as error:
            failures.append((place, str(error)))
            continue
        pictures[place] = edges_of(opened, *conditioning.canny) if conditioning.canny else opened
    return pictures, tuple(failures)


def open_image(image: bytes | str, width: int, height: int, fit: Fit = "crop") -> Pictures:
    """One picture, (height, width, 3) uint8: upright, on white where it is transparent, resized.

    A picture of another aspect ratio is cropped equally on both sides; `stretch` distorts it
    instead, as diffusers' image-to-image does. Raises InputError for a file that is no picture,
    with a reason that is the same on every cluster; an OSError where the file system is at fault.
    """
    try:
        picture = _read(image)
    except UnidentifiedImageError as error:
        raise InputError(f"the picture {_what_it_is(image)}") from error
    except PILLOW_ERRORS as error:
        if getattr(error, "errno", None) not in PERMANENT_ERRNOS:
            raise
        # Without the path: the row has it, and it may be another on the next cluster.
        # 200 characters, chosen: Pillow's messages fit, but for those that quote a file's bytes.
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError(f"the picture cannot be read: {reason[:200]}") from error
    size, how = (width, height), Image.Resampling.LANCZOS
    if picture.size != size:
        stretched = fit == "stretch"
        picture = picture.resize(size, how) if stretched else ImageOps.fit(picture, size, how)
    return np.asarray(picture, dtype=np.uint8)


def _read(image: bytes | str) -> Image.Image:
    """The picture in RGB; from its pixels alone where its metadata are broken."""
    try:
        return _decoded(image)
    except PILLOW_ERRORS as error:
        if getattr(error, "errno", None) is None:
            for content in repaired(_content(image)):
                with suppress(*PILLOW_ERRORS):
                    return _decoded(content)
        raise


def _decoded(image: bytes | str) -> Image.Image:
    with open_picture(image) as file:
        greys, picture = greys_of(file), as_pixels(file)
        picture.load()  # what is broken behind the pixels shows here, and not when it is turned
        return _as_rgb(_upright(picture), greys)


def _content(image: bytes | str) -> bytes:
    """Of a file; nothing of what is no file, and of a larger one than may be mended."""
    if isinstance(image, bytes):
        return image
    path = Path(image)
    is_read = path.is_file() and path.stat().st_size <= MOST_MENDED_BYTES
    return path.read_bytes() if is_read else b""


def _what_it_is(image: bytes | str) -> str:
    """Of a file that no format opens."""
    head = _content(image)[:16]
    for magic, name in BEGINNINGS.items():
        if head.startswith(magic):
            return f"cannot be read: it begins as {name} does, and is broken or of a kind not known"
    return f"is none of {', '.join(FORMATS)}"


def resized(picture: Pictures, size: Size) -> Pictures:
    """A picture (height, width, 3) of `size`, width and height; as it is where it has that."""
    if picture.shape[1::-1] == size:
        return picture
    image = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)


def squares(pictures: Pictures, fit: SquareFit) -> Pictures:
    """Pictures (rows, height, width, 3) as squares (rows, side, side, 3), as `fit` says.

    crop: the middle, as wide as the shorter side. pad: black on both sides, as wide as the longer
    one. resize: distorted to the shorter side.
    """
    height, width = pictures.shape[1:3]
    if height == width:
        return pictures
    short, long = sorted((height, width))
    if fit == "resize":
        return all_resized(pictures, (short, short))
    if fit == "crop":
        top, left = (height - short) // 2, (width - short) // 2
        return np.ascontiguousarray(pictures[:, top : top + short, left : left + short])
    whole = np.zeros((len(pictures), long, long, 3), np.uint8)
    top, left = (long - height) // 2, (long - width) // 2
    whole[:, top : top + height, left : left + width] = pictures
    return whole


def all_resized(pictures: Pictures, size: Size | None) -> Pictures:
    """Pictures (rows, height, width, 3) of `size`; None: of their own."""
    if size is None or pictures.shape[2:0:-1] == size:
        return pictures
    return np.stack([resized(picture, size) for picture in pictures])


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data say; as it is where they are broken, which says nothing of pixels."""
    try:
        return ImageOps.exif_transpose(image)
    except PILLOW_ERRORS:
        return image  # if its pixels are broken, that shows when they are decoded


def _as_rgb(image: Image.Image, greys: Greys) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floats; save it with 8 or 16 bits a pixel")
    if image.mode.startswith("I"):
        # Depth maps come in 16 bits a pixel; Pillow would cut off everything above 255.
        values = np.asarray(image, dtype=np.float64)
        if values.min(initial=0) < 0 or values.max(initial=0) > greys.white:
            raise ValueError("its pixels need more than 16 bits; save it with 8 or 16 bits a pixel")
        shown = greys.white - values if greys.is_inverted else values
        grey = (shown * 255 / greys.white).round().astype(np.uint8)
        grey[values == greys.transparent] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        if greys.transparent is not None:
            image.info["transparency"] = greys.transparent
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def edges_of(picture: Pictures, low: int, high: int) -> Pictures:
    """Canny's edges, white on black, as ControlNets of that name were trained on."""
    import cv2

    edges = cv2.Canny(picture, low, high)
    return np.repeat(np.asarray(edges, dtype=np.uint8)[:, :, None], 3, axis=2)
