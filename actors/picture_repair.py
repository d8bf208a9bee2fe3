"""PNG and JPEG whose pixels are good and whose metadata are broken: the same without those.

Only what decides about the pixels is kept, as it is: nothing is guessed. What turns the picture
(EXIF) is kept in a first try, as it may be whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from zlib import crc32

from actors.picture_files import PILLOW_ERRORS, open_picture

PNG = b"\x89PNG\r\n\x1a\n"
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_BEGINS_WITHIN = 16
"""Bytes before the file's own beginning. Chosen: some senders leave a byte or a line end there."""

_TURNING = {
    b"eXIf": b"",
    b"zTXt": b"Raw profile type exif\0",
    b"tEXt": b"Raw profile type exif\0",
    b"iTXt": b"XML:com.adobe.xmp\0",
}
"""Where PNG says how a picture is turned, and how such a chunk begins."""

_ANCILLARY = frozenset(
    {
        *(b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"pHYs", b"cHRM", b"gAMA", b"sRGB", b"acTL", b"fcTL"),
        *(b"fdAT", b"tIME", b"bKGD", b"hIST", b"sPLT", b"sBIT", b"eXIf", b"cICP", b"mDCV", b"cLLI"),
        *(b"mDCv", b"cLLi", b"caBX", b"oFFs", b"pCAL", b"sCAL"),
    }
)
"""Chunks that change no pixel, so that they may be broken. Another one that is broken may have been
a palette, before its name was."""

_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
"""Whole, and it says nothing but that the colours are those of JFIF."""
_ADOBE_BYTES = 12
_JFIF_BYTES = 14
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD})
_OTHERS = frozenset({*range(0xE0, 0xF0), 0xFE})
"""Of what is behind a marker: ITU T.81, table B.1."""


def repaired(content: bytes) -> Iterator[bytes]:
    """The file without what is broken or not needed, to be tried in this order; none for a file
    that is neither PNG nor JPEG, or whose pixels or colours are not certain."""
    head = content[: _BEGINS_WITHIN + len(PNG)]
    if (at := head.find(PNG)) >= 0:
        with suppress(ValueError):
            yield _png(content[at:], keep_turning=True)
            yield _png(content[at:], keep_turning=False)
    elif (at := head.find(_SOI + b"\xff")) >= 0:
        with suppress(ValueError, IndexError, struct.error):
            yield _jpeg(content[at:], keep_turning=True)
        with suppress(ValueError, IndexError, struct.error):
            yield _jpeg(content[at:], keep_turning=False)


def _png(content: bytes, *, keep_turning: bool) -> bytes:
    """Raises ValueError where what is broken may have been of the pixels."""
    kept, colour, palette = [PNG], -1, 0
    at = len(PNG)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4])
        chunk = content[at : at + 12 + length]
        kind, data = chunk[4:8], chunk[8:-4]
        at += len(chunk)
        is_whole = crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            kept.append(chunk)
            if kind == b"IHDR":
                colour = data[9] if len(data) > 9 else -1
            palette = len(data) // 3 if kind == b"PLTE" else palette
        elif kind == b"tRNS":
            fits = {0: len(data) == 2, 2: len(data) == 6, 3: 0 < len(data) <= palette}
            if is_whole and fits.get(colour):
                kept.append(chunk)
        elif keep_turning and is_whole and kind in _TURNING and data.startswith(_TURNING[kind]):
            kept.append(chunk)
        elif kind not in _ANCILLARY and not (is_whole and kind[0] & 32):  # 32: not critical
            raise ValueError("a broken chunk")
        if kind == b"IEND":
            break
    if colour == 3 and not palette:
        raise ValueError("no palette")
    return b"".join(kept)


def _jpeg(content: bytes, *, keep_turning: bool) -> bytes:
    """Raises ValueError where the end is missing and more than it may be, or where a broken
    marker leaves the colours open."""
    kept, frame = [_SOI], b""
    is_jfif = is_adobe = lost_adobe = is_ended = False
    left: dict[tuple[int, int], int] = {}  # (component, coefficient): bits that are not there yet
    huffman: set[int] = set()  # tables: their class (16: AC) and number
    is_huffman = False
    at = 2
    while at + 2 <= len(content) and not is_ended:
        if content[at] != 0xFF:
            raise ValueError("no marker")
        marker = content[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == 0xD9:
            is_ended = True
            break
        length = int.from_bytes(content[at + 2 : at + 4])
        segment, data = content[at : at + 2 + length], content[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xE0 and data.startswith(b"JFIF") and not is_jfif:
            is_jfif = True
            kept.append(segment if len(data) == _JFIF_BYTES else _JFIF)
        elif marker == 0xEE and data.startswith(b"Adobe"):
            whole = len(data) >= _ADOBE_BYTES
            is_adobe, lost_adobe = is_adobe or whole, lost_adobe or not whole
            kept += [segment] * whole
        elif marker == 0xE1 and keep_turning:
            kept.append(segment)
        elif marker in _FRAMES:
            frame, is_huffman = data, marker < 0xC8
            kept.append(segment)
            left = {
                (one, place): 99 for one in data[6 : 6 + 3 * data[5] : 3] for place in range(64)
            }
        elif marker in _TABLES:
            huffman |= set(_huffman_tables(data)) if marker == 0xC4 else set()
            kept.append(segment)
        elif marker == 0xDA:
            end = _end_of_scan(content, at)
            kept += [segment, content[at:end]]
            at = end
            first, last, bits = data[-3], data[-2], data[-1] & 15
            for one, tables in zip(data[1:-3:2], data[2:-3:2], strict=True):
                needed = {tables >> 4} if first == 0 and data[-1] < 16 else set()
                needed |= {16 + (tables & 15)} if last else set()
                if is_huffman and not needed <= huffman:
                    raise ValueError("no table")  # the decoder would take a usual one
                left |= {(one, place): bits for place in range(first, last + 1)}
        elif marker not in _OTHERS:
            raise ValueError("a broken marker")
    if lost_adobe and not is_adobe and not _knows_its_colours(frame, is_jfif):
        raise ValueError("the colours are not certain")
    bare = b"".join(kept)
    if not is_ended and not (left and not any(left.values()) and _has_all_pixels(bare)):
        raise ValueError("cut off")
    return bare.removesuffix(b"\xff") + _EOI


def _huffman_tables(data: bytes) -> Iterator[int]:
    """The class and number of each table of a segment."""
    at = 0
    while at < len(data):
        yield data[at]
        at += 17 + sum(data[at + 1 : at + 17])


def _end_of_scan(content: bytes, at: int) -> int:
    """Where the next marker is that is part of no scan; the content's end if there is none."""
    while (at := content.find(b"\xff", at)) >= 0:
        if at + 1 < len(content) and content[at + 1] not in (0x00, 0xFF, *range(0xD0, 0xD8)):
            return at
        at += 1 if content[at + 1 : at + 2] == b"\xff" else 2
    return len(content)


def _knows_its_colours(frame: bytes, is_jfif: bool) -> bool:
    """Whether the colours of a frame are certain without Adobe's marker."""
    count = frame[5]
    letters, sampling = frame[6 : 6 + 3 * count : 3], set(frame[7 : 7 + 3 * count : 3])
    return count == 1 or (count == 3 and (is_jfif or letters == b"RGB" or len(sampling) > 1))


def _has_all_pixels(content: bytes) -> bool:
    """Whether nothing but the end marker is missing: whatever follows changes no pixel.

    The decoder fills up what is missing, with zeros or with what follows.
    """
    content = content.removesuffix(b"\xff")
    seen = set()
    for filling in (b"", b"\x55" * 64, b"\xaa" * 64):
        try:
            with open_picture(content + filling + _EOI) as picture:
                seen.add(picture.tobytes())
        except PILLOW_ERRORS:
            return False
    return len(seen) == 1
