"""Reads the headers of a Parquet column's pages, and the lengths of texts that are written as what
they add to the one before (DELTA_BYTE_ARRAY): pyarrow gives neither, and kilobytes of such lengths
stand for gigabytes of text.

Sources: parquet.thrift and Encodings.md of apache/parquet-format; Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

DATA, DICTIONARY, DATA_V2 = 0, 2, 3
"""PageType."""
DELTA_BYTE_ARRAY = 7
"""Encoding."""

MOST_AT_ONCE = 2**16
"""Lengths of a piece of a block. Writers take 32; no more than some hundred help."""

HEADER_BYTES = 2**16
"""Read at once for a page's header. It has the page's least and largest value, which writers cut
to some dozen bytes."""


class BrokenPageError(ValueError):
    """What the bytes of a page are not."""


class Bytes:
    """Reads numbers from bytes, and raises BrokenPageError at their end."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if not 0 <= size <= len(self.content) - self.place:
            raise BrokenPageError("it ends within a value")
        self.place += size
        return self.content[self.place - size : self.place]

    def unsigned(self) -> int:
        """Seven bits a byte, the last ones first, of at most 64 bits."""
        found, shift = 0, 0
        while shift < 70:
            byte = self.take(1)[0]
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
            shift += 7
        raise BrokenPageError("a number does not end")

    def signed(self) -> int:
        """Zigzag: 0, -1, 1, -2."""
        found = self.unsigned()
        return (found >> 1) ^ -(found & 1)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Number -> value of each field that is an integer or a struct; the rest is skipped."""
        if depth > 8:  # A header's statistics are two deep.
            raise BrokenPageError("it nests too deep")
        found: dict[int, Any] = {}
        number = 0
        while (head := self.take(1)[0]) != 0:
            number = number + (head >> 4) if head >> 4 else self.signed()
            found[number] = self._value(head & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self.take(1)[0]
            case 4 | 5 | 6:
                return self.signed()
            case 7:
                return self.take(8)
            case 8:
                return self.take(self.unsigned())
            case 12:
                return self.struct(depth + 1)
            case _:
                raise BrokenPageError(f"its header has a field of type {kind}")

    def lengths(self, most: int) -> tuple[int, int]:
        """Count and sum of the lengths in DELTA_BINARY_PACKED, of which there are `most` at most.

        Few of them are in memory at once: three bytes may stand for a million.
        """
        block, minis, count, last = self.unsigned(), self.unsigned(), self.unsigned(), self.signed()
        size = block // minis if minis else 0
        if not 0 < size <= MOST_AT_ONCE or size % 8 or size * minis != block:
            raise BrokenPageError(f"its blocks are of {block:,} lengths in {minis:,} pieces")
        if count > most:
            raise BrokenPageError(f"it has {count:,} lengths for {most:,} values")
        total, left = (last, count - 1) if count else (0, 0)
        while left > 0:
            least, widths = self.signed(), self.take(minis)
            for width in widths[: -(-left // size)]:
                steps = least + self._packed(size, width)[:left]
                found = last + np.cumsum(steps)
                if last < 0 or found.min() < 0:
                    raise BrokenPageError("a length is below 0")
                total, last, left = total + int(found.sum()), int(found[-1]), left - len(steps)
        return count, total

    def _packed(self, count: int, width: int) -> npt.NDArray[np.int64]:
        """`count` numbers of `width` bits each, the lowest bits first."""
        if width > 64:
            raise BrokenPageError("a number has more than 64 bits")
        content = np.frombuffer(self.take(count * width // 8), np.uint8)
        if not width:
            return np.zeros(count, np.int64)
        bits = np.unpackbits(content, bitorder="little").reshape(count, width)
        powers = np.uint64(1) << np.arange(width, dtype=np.uint64)
        return (bits.astype(np.uint64) @ powers).astype(np.int64)


def pages(chunk: Any, file: BinaryIO) -> Iterator[tuple[dict[int, Any], int]]:
    """The header of each page of a column chunk, and where its content begins."""
    starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
    place = min(start for start in starts if start is not None)
    end = place + int(chunk.total_compressed_size)
    while place < end:
        file.seek(place)
        reader = Bytes(file.read(HEADER_BYTES))
        header = reader.struct()
        place += reader.place
        yield header, place
        size = header.get(3)
        if not isinstance(size, int) or size < 0:
            raise BrokenPageError("a page has no size")
        place += size


def delta_bytes(chunk: Any, column: Any, file: BinaryIO, most: int) -> int:
    """Bytes of the texts of a column chunk, those in pages of DELTA_BYTE_ARRAY by their lengths.

    Ends above `most`, which no page may unpack to. Raises BrokenPageError.
    """
    total, dictionary = 0, 0
    for header, place in pages(chunk, file):
        kind, unpacked = header.get(1), int(header.get(2, 0))
        if not 0 <= unpacked <= most:
            return most + 1
        if kind == DICTIONARY:
            dictionary = unpacked
            continue
        about = header.get(5 if kind == DATA else 8)
        if not isinstance(about, dict):
            continue  # an index: no values
        encoding = about.get(2 if kind == DATA else 4)
        if encoding == DELTA_BYTE_ARRAY:
            file.seek(place)
            total += _text_bytes(file.read(header[3]), header, chunk, column)
        else:
            total += int(about.get(1, 0)) * dictionary if dictionary else unpacked
        if total > most:
            break
    return total


def _text_bytes(content: bytes, header: dict[int, Any], chunk: Any, column: Any) -> int:
    """Of a page's texts: what they add, and what they have of the one before."""
    unpacked = int(header[2])
    if header[1] == DATA:
        reader = Bytes(_unpacked(content, unpacked, chunk.compression))
        for deepest in (column.max_repetition_level, column.max_definition_level):
            if deepest:
                reader.take(int.from_bytes(reader.take(4), "little"))
    else:
        about = header[8]
        levels = int(about.get(5, 0)) + int(about.get(6, 0))
        values = content[levels:]
        if about.get(7, True):
            values = _unpacked(values, unpacked - levels, chunk.compression)
        reader = Bytes(values)
    if reader.place == len(reader.content):
        return 0  # nulls alone
    most = int(header[5 if header[1] == DATA else 8].get(1, 0))
    count, shared = reader.lengths(most)
    also, added = reader.lengths(most)
    if count != also:
        raise BrokenPageError(f"it has {count:,} lengths of beginnings and {also:,} of ends")
    return shared + added


def _unpacked(content: bytes, size: int, compression: str) -> bytes:
    if compression == "UNCOMPRESSED" or size <= 0:
        return content
    name = {"LZ4": "lz4_raw"}.get(compression, compression.lower())
    try:
        return bytes(pa.Codec(name).decompress(content, size, asbytes=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BrokenPageError(f"it cannot be unpacked ({error})") from error
