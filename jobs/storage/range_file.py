"""A file that is read in ranges, as pyarrow wants it: its end is fetched once, and kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

TAIL_BYTES = 2**16
"""Fetched at once with the first read near the end: a Parquet footer, which is read in two steps,
takes one request. Footers of our parts have some kilobytes."""
BLOCK_BYTES = 2**20
"""The least that is fetched in the middle: a reader of lines asks for some kilobytes at a time, and
a request takes as long as a megabyte."""


class RangeFile(io.RawIOBase):
    """`size` bytes, of which `fetch(start, end)` returns any range. It holds two ranges at most:
    the end, and the last one that was read in the middle."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size, self._fetch, self._place = size, fetch, 0
        self._tail_start = max(0, size - TAIL_BYTES)
        self._tail: bytes | None = None
        self._block, self._block_start = b"", 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = base + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes; fewer only at the end."""
        left = max(0, self._size - self._place)
        size = left if size is None or size < 0 else min(size, left)
        start, self._place = self._place, self._place + size
        return self._range(start, start + size) if size else b""

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, as far as there are bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _range(self, start: int, end: int) -> bytes:
        if start >= self._tail_start:
            if self._tail is None:
                self._tail = self._fetch(self._tail_start, self._size)
            return self._tail[start - self._tail_start : end - self._tail_start]
        inside = self._block_start
        if not (inside <= start and end <= inside + len(self._block)):
            upto = min(self._size, max(end, start + BLOCK_BYTES))
            self._block, self._block_start = self._fetch(start, upto), start
            inside = start
        return self._block[start - inside : end - inside]
