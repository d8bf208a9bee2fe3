"""Ranges: right bytes, few requests."""

from __future__ import annotations

import io
import os

from hypothesis import given
from hypothesis import strategies as st

from jobs.storage import range_file
from jobs.storage.range_file import RangeFile

CONTENT = os.urandom(range_file.TAIL_BYTES + 3 * range_file.BLOCK_BYTES)


@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 10), st.integers(-1, 200_000)), max_size=8))
def test_it_reads_as_a_file_does(steps: list[tuple[int, int]]) -> None:
    file, plain = RangeFile(len(CONTENT), lambda a, b: CONTENT[a:b]), io.BytesIO(CONTENT)
    for place, size in steps:
        assert file.seek(place) == plain.seek(place)
        assert file.read(size) == plain.read(size)
        assert file.tell() == plain.tell() or place > len(CONTENT)


def test_a_footer_is_one_request_and_lines_are_few() -> None:
    asked: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        asked.append((start, end))
        return CONTENT[start:end]

    file = RangeFile(len(CONTENT), fetch)
    file.seek(-8, io.SEEK_END)
    file.read(8)
    file.seek(-5000, io.SEEK_END)
    file.read(4992)
    assert len(asked) == 1
    file.seek(0)
    with io.BufferedReader(file) as lines:
        assert lines.read() == CONTENT
    assert len(asked) <= 6
