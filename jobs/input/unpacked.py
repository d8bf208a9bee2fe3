"""Reads a packed file as it would be unpacked, up to a bound: little may unpack to anything."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import pyarrow as pa

from actors.errors import InputError
from jobs.input.formats import Packing

MAX_UNPACKING, FREELY_UNPACKED_BYTES = 500, 2**28
"""A file may unpack to this many times its size, or to this many bytes if that is more. Text packs
to a fifth, or a twentieth where it repeats itself; a file of one letter to a thousandth."""


class Unpacked(io.RawIOBase):
    """The unpacked bytes of a file, from its beginning to its end. Closing it closes the file.

    name, size: the file's, for people, and in bytes.
    Raises InputError when too much has come out, and OSError for bytes that are not packed so.
    """

    def __init__(self, packed: BinaryIO, packing: Packing, name: str, size: int) -> None:
        self._packed, self._name, self._size = packed, name, size
        self._stream: Any = pa.CompressedInputStream(pa.PythonFile(packed, "r"), packing)
        self._left = max(FREELY_UNPACKED_BYTES, MAX_UNPACKING * size)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what comes next; 0 at the end."""
        content = self._stream.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise InputError(
                f"{self._name} has {self._size:,} bytes and unpacks to more than "
                f"{MAX_UNPACKING} times as much. Is it what you mean? Unpack it first."
            )
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the file that is unpacked."""
        if not self.closed:
            self._stream.close()
            self._packed.close()
        super().close()
