"""Good pixels with broken metadata: drawn as if the metadata were whole."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.errors import InputError
from actors.images import open_image
from tests.unit.actors.test_images import chunk, opened, png, tiff

COLOURS = np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)
PICTURE = Image.fromarray(COLOURS).resize((64, 48), Image.Resampling.BICUBIC)


def saved(kind: str, **how: object) -> bytes:
    file = BytesIO()
    PICTURE.convert(str(how.pop("mode", "RGB"))).save(file, kind, **how)
    return file.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


def with_chunk(file: bytes, added: bytes, *, last: bool = False) -> bytes:
    at = file.index(b"IEND") - 4 if last else file.index(b"IDAT") - 4
    return file[:at] + added + file[at:]


def bad_crc(made: bytes) -> bytes:
    return made[:-1] + bytes([made[-1] ^ 1])


TEXT = chunk(b"tEXt", b"parameters\0a red circle")
LONG = chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(5_000_000)))
MANY = b"".join(
    chunk(b"zTXt", b"prompt%d\0\0" % number + zlib.compress(bytes(1_000_000)))
    for number in range(70)
)
CHUNKS = {
    "crc of tEXt": bad_crc(TEXT),
    "iCCP": chunk(b"iCCP", b"icc\0\0no zlib"),
    "iCCP without a name": chunk(b"iCCP", b"\0"),
    "iCCP without content": chunk(b"iCCP", b""),
    "pHYs": chunk(b"pHYs", b"\0\0"),
    "cHRM": chunk(b"cHRM", b"\0\0\0"),
    "gAMA": chunk(b"gAMA", b"\0"),
    "sRGB": chunk(b"sRGB", b""),
    "tRNS": chunk(b"tRNS", b"\0"),
    "acTL": chunk(b"acTL", b"\0\0"),
    "acTL of nothing": chunk(b"acTL", struct.pack(">II", 0, 0)),
    "fcTL": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", b"\0\0"),
    "a text of 5 MB": LONG,
    "texts of 70 MB": MANY,
}


@pytest.mark.parametrize("last", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", CHUNKS)
def test_a_png_is_drawn_whatever_its_metadata(name: str, last: bool, tmp_path: Path) -> None:
    files = [saved("PNG"), saved("PNG", exif=turned())]
    files += [saved("PNG", mode="P")] * (name != "tRNS")  # of which that is whole
    for file in files:
        broken = with_chunk(file, CHUNKS[name], last=last)
        assert np.array_equal(opened(broken), opened(file))
    (tmp_path / "p.png").write_bytes(broken)
    assert np.array_equal(open_image(str(tmp_path / "p.png"), 64, 64), opened(file))


def test_a_whole_transparent_value_is_kept_where_other_metadata_are_broken() -> None:
    told = chunk(b"tRNS", struct.pack(">H", 2))
    line = b"\x00\x01\x02\x03"
    assert opened(png(8, 0, line, told, CHUNKS["pHYs"]), 4)[0, :, 0].tolist() == [0, 1, 255, 3]


def test_damaged_pixels_are_not_drawn() -> None:
    file = saved("PNG")
    at = file.index(b"IDAT") + 20
    for broken in (file[:at] + b"\0\0" + file[at + 2 :], file[: len(file) // 2]):
        with pytest.raises(InputError, match="cannot be read"):
            open_image(with_chunk(broken, CHUNKS["pHYs"]), 64, 64)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


JPEGS = {
    "420": saved("JPEG", quality=90),
    "444": saved("JPEG", quality=90, subsampling=0),
    "RGB": saved("JPEG", quality=90, keep_rgb=True),
    "grey": saved("JPEG", mode="L"),
    "progressive": saved("JPEG", progressive=True),
    "restarts": saved("JPEG", restart_marker_rows=1),
    "turned": saved("JPEG", exif=turned()),
    "CMYK": saved("JPEG", mode="CMYK"),
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_is_drawn_whatever_its_metadata(name: str) -> None:
    file = JPEGS[name]
    others = [segment(0xE0, b"JFIF\0"), segment(0xE1, b"Exif\0\0II*"), segment(0xE2, b"MPF\0")]
    others = others[::2] if name == "turned" else others
    broken = [file[:2] + one + file[2:] for one in others]
    broken += [b"\n" + file, b"\0\0" + file, file[:-2], file[:-1], b"\n" + broken[0][:-2]]
    for one in broken if name not in ("RGB", "CMYK") else broken[1:-1]:
        assert np.array_equal(opened(one), opened(file))
    if b"JFIF" in file:
        at = file.index(b"JFIF") - 4
        short = file[:at] + segment(0xE0, b"JFIF\0\1") + file[at + 18 :]
        assert np.array_equal(opened(short), opened(file))
        adobe = file[:2] + segment(0xEE, b"Adobe\0") + file[2:]
        assert np.array_equal(opened(adobe), opened(file))


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_is_cut_off_is_not_drawn(name: str) -> None:
    """An end marker alone would make it grey below."""
    file = JPEGS[name]
    for missing in (3, 4, 5, 10, 100, len(file) // 3):
        with pytest.raises(InputError, match="cannot be read"):
            open_image(file[:-missing], 64, 64)


def test_a_progressive_jpeg_without_its_last_scans_is_not_drawn() -> None:
    """Each scan is whole, and the picture is coarser than it was."""
    file = JPEGS["progressive"]
    scans = [at for at in range(len(file)) if file[at : at + 2] == b"\xff\xda"]
    tables = [at for at in range(len(file)) if file[at : at + 2] == b"\xff\xc4" and at > scans[0]]
    assert len(scans) > 5
    for end in (*scans[1:], *tables):
        with pytest.raises(InputError, match="cannot be read"):
            open_image(file[:end], 64, 64)


def test_a_jpeg_whose_colours_are_not_certain_is_not_drawn() -> None:
    file = JPEGS["CMYK"]
    at = file.index(b"Adobe") - 4
    with pytest.raises(InputError, match="cannot be read"):
        open_image(file[:at] + segment(0xEE, b"Adobe\0") + file[at + 16 :], 64, 64)


@pytest.mark.parametrize("name", [b"P\xe8TE", b"pLTE", b"\xbcLTE", b"PLTF", b"tEXt"])
def test_a_palette_whose_name_is_broken_is_missed(name: bytes) -> None:
    """The pixels were drawn as greys."""
    with pytest.raises(InputError, match="cannot be read"):
        open_image(saved("PNG", mode="P").replace(b"PLTE", name), 64, 64)


@pytest.mark.parametrize("name", ["420", "progressive", "CMYK"])
@pytest.mark.parametrize("marker", [0xE4, 0xFE, 0xF5, 0x2B, 0x85, 0xC8])
def test_a_table_of_jpeg_whose_marker_is_broken_is_missed(name: str, marker: int) -> None:
    """The decoder took a usual one."""
    file = JPEGS[name]
    at = file.index(b"\xff\xc4")
    with pytest.raises(InputError, match="the picture is none of"):
        open_image(b"\n" + file[: at + 1] + bytes([marker]) + file[at + 2 :], 64, 64)


def test_a_broken_file_is_called_what_it_begins_as() -> None:
    for file, kind in ((b"RIFF\x20\0\0\0WEBPnone", "WEBP"), (tiff(7, 1, b"abcd"), "TIFF")):
        with pytest.raises(InputError, match=f"cannot be read: it begins as {kind} does"):
            open_image(file, 4, 4)
