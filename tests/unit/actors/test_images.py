"""Pictures of the input: as they are, whatever the bits of their samples; or refused."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from actors.errors import InputError
from actors.images import open_image

SIDE = 64
RAMP = np.linspace(0, 65_535, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
DEEP = np.stack([RAMP, RAMP[::-1], np.full_like(RAMP, 65_535)], -1)


def opened(file: bytes, side: int = SIDE) -> npt.NDArray[np.int64]:
    return open_image(file, side, side).astype(np.int64)


def encoded(ending: str, samples: npt.NDArray[Any]) -> bytes:
    ok, file = cv2.imencode(ending, samples)
    assert ok
    return bytes(file.tobytes())


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(bits: int, colour: int, line: bytes, *chunks: bytes) -> bytes:
    """4 x 4 pixels; each line is `line`."""
    head = struct.pack(">IIBBBBB", 4, 4, bits, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + line) * 4))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head), *chunks, pixels, chunk(b"IEND", b""))
    )


def tiff(bits: int, photometric: int, line: bytes, *, sample_format: int = 1) -> bytes:
    """4 x 4 pixels of one sample, uncompressed; each line is `line`."""
    tags = [(256, 4), (257, 4), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1)]
    tags += [(278, 4), (279, 4 * len(line)), (339, sample_format)]
    begin = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, begin if tag == 273 else value)
        for tag, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + line * 4


def test_jpeg_2000_of_16_bits_keeps_its_colours() -> None:
    """White became black."""
    for samples in (DEEP, np.dstack([DEEP, np.full_like(RAMP, 65_535)])):
        order = [2, 1, 0, 3][: samples.shape[2]]
        file = encoded(".jp2", samples[..., order])
        assert np.abs(opened(file) - DEEP / 257).max() <= 0.5
    assert np.abs(opened(encoded(".jp2", RAMP))[..., 0] - RAMP / 257).max() <= 0.5
    eight = (DEEP >> 8).astype(np.uint8)
    assert np.array_equal(opened(encoded(".jp2", eight[..., ::-1])), eight)


@pytest.mark.parametrize("bits", [0x8F, 11, 3, 0x87])  # signed 16, 12, 4, signed 8
def test_jpeg_2000_of_other_bits_is_refused(bits: int) -> None:
    file = bytearray(encoded(".jp2", DEEP[..., ::-1]))
    at = file.index(b"\xff\x4f\xff\x51") + 42
    file[at : at + 9 : 3] = bytes([bits] * 3)
    with pytest.raises(InputError, match="JPEG 2000 are not of 8 or 16 bits"):
        open_image(bytes(file), SIDE, SIDE)


@pytest.mark.parametrize(
    ("bits", "photometric", "line", "shown"),
    [
        (8, 1, b"\x00\x40\x80\xff", [0, 64, 128, 255]),
        (8, 0, b"\x00\x40\x80\xff", [255, 191, 127, 0]),
        (16, 1, struct.pack("<4H", 0, 257 * 64, 257 * 128, 65_535), [0, 64, 128, 255]),
        (16, 0, struct.pack("<4H", 0, 257 * 64, 257 * 128, 65_535), [255, 191, 127, 0]),
        (12, 1, b"\x00\x0f\xff\x80\x10\x00", [0, 255, 128, 0]),
    ],
)
def test_greys_of_tiff_are_as_light_as_they_say(
    bits: int, photometric: int, line: bytes, shown: list[int]
) -> None:
    assert opened(tiff(bits, photometric, line), 4)[1, :, 0].tolist() == shown


def test_a_packed_tiff_whose_white_is_zero_is_inverted() -> None:
    file = BytesIO()
    Image.fromarray(RAMP).save(file, "TIFF", compression="tiff_lzw", tiffinfo={262: 0})
    written = Image.open(BytesIO(file.getvalue())).tag_v2[262]  # type: ignore[attr-defined]
    shown = 255 - RAMP / 257 if written == 0 else RAMP / 257
    assert np.abs(opened(file.getvalue())[..., 0] - shown).max() <= 0.5


def test_a_tiff_of_signed_samples_is_refused() -> None:
    with pytest.raises(InputError, match="its samples are signed; save it with 8 or 16 unsigned"):
        open_image(tiff(8, 1, b"\x80\xff\x00\x7f", sample_format=2), 4, 4)


@pytest.mark.parametrize(
    ("bits", "colour", "line", "transparent", "shown"),
    [
        (1, 0, b"\x50", (1,), [0, 255, 0, 255]),
        (1, 0, b"\x50", (0,), [255, 255, 255, 255]),
        (2, 0, b"\x1b", (1,), [0, 255, 170, 255]),
        (4, 0, b"\x01\x2f", (2,), [0, 17, 255, 255]),
        (8, 0, b"\x00\x01\x02\x03", (2,), [0, 1, 255, 3]),
        (16, 0, struct.pack(">4H", 0, 257, 514, 520), (514,), [0, 1, 255, 2]),
        (16, 0, struct.pack(">4H", 0, 257, 514, 520), (0,), [255, 1, 2, 2]),
        (8, 2, bytes([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]), (2, 2, 2), [0, 1, 255, 3]),
        (
            *(16, 2, struct.pack(">12H", 0, 0, 0, 257, 257, 257, 514, 514, 514, 520, 520, 520)),
            *((514, 514, 514), [0, 1, 255, 2]),
        ),
    ],
)
def test_one_transparent_value_of_png_is_white(
    bits: int, colour: int, line: bytes, transparent: tuple[int, ...], shown: list[int]
) -> None:
    """Of any depth, and no other value is."""
    told = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    assert opened(png(bits, colour, line, told), 4)[2, :, 0].tolist() == shown
