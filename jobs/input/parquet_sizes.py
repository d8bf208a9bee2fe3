"""How much a row group of a Parquet file takes once it is decoded, before it is: by its footer.

The footer's `total_uncompressed_size` is that of the pages. Three encodings hold more than their
pages: a dictionary names one text for many rows, delta lengths share a text's beginning with the
row before it, and runs hold a number once. Seen: 570 bytes with 30 GB of text, 881 with 1.6 GB of
integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from jobs.input.base import BATCH_ROWS, MAX_ROW_BYTES
from jobs.input.decoded_size import decoded_bytes
from jobs.input.parquet_pages import BrokenPageError, delta_bytes, pages

_WIDTHS = {
    "BOOLEAN": 1,
    "INT32": 4,
    "INT64": 8,
    "INT96": 8,
    "FLOAT": 4,
    "DOUBLE": 8,
    "BYTE_ARRAY": 4,
}
"""Bytes of a decoded value; INT96 becomes a timestamp of 64 bits, and a text has an offset."""


def unpacked_bytes(group: pq.RowGroupMetaData, schema: pq.ParquetSchema) -> int:
    """Of a row group: its pages, and of lists of numbers what they decode to, if that is more."""
    size = int(group.total_byte_size)
    for place in range(group.num_columns):
        if schema.column(place).max_repetition_level:
            chunk = group.column(place)
            size += max(0, _numbers(chunk, schema.column(place)) - chunk.total_uncompressed_size)
    return size


def row_bytes(group: pq.RowGroupMetaData, schema: pq.ParquetSchema, places: list[int]) -> float:
    """The mean of a row in some columns, where no text is held for several rows at once."""
    sizes = [
        max(group.column(p).total_uncompressed_size, _numbers(group.column(p), schema.column(p)))
        for p in places
    ]
    return float(sum(sizes)) / max(1, int(group.num_rows))


def longest_row(
    metadata: pq.FileMetaData, number: int, places: list[int], opened: Callable[[], BinaryIO]
) -> float:
    """What a row of a row group takes at most in the texts that rows, or one row's values, share.

    opened: opens the file, which says how large a dictionary is and how long a list. Raises
    BrokenPageError.
    """
    group, longest = metadata.row_group(number), 0.0
    for place in places:
        chunk = group.column(place)
        if _is_shared(chunk) and group.num_rows:
            most, values = int(chunk.total_uncompressed_size), chunk.num_values / group.num_rows
            if most * values * min(group.num_rows, BATCH_ROWS) > MAX_ROW_BYTES:
                most = min(most, _longest_value(chunk, opened))
            row = most * values
            in_lists = metadata.schema.column(place).max_repetition_level > 0
            # One row may have all the values.
            if in_lists and most * chunk.num_values > MAX_ROW_BYTES:
                if "DELTA_BYTE_ARRAY" in chunk.encodings:
                    with opened() as file:
                        column = metadata.schema.column(place)
                        row = delta_bytes(chunk, column, file, MAX_ROW_BYTES)
                else:
                    row = _longest_list(chunk, number, opened)
            longest += row
    return longest


def _longest_list(chunk: Any, number: int, opened: Callable[[], BinaryIO]) -> int:
    """What the largest row of a column of lists takes; its texts are read, but not multiplied."""
    with opened() as content:
        path = chunk.path_in_schema
        file = pq.ParquetFile(content, read_dictionary=[path])
        batches = file.iter_batches(BATCH_ROWS, row_groups=[number], columns=[path])
        return max(int(decoded_bytes(batch.column(0)).max(initial=0)) for batch in batches)


def _numbers(chunk: Any, column: Any) -> int:
    """Bytes that the numbers of a column decode to, or its values of a fixed length; 0 of text."""
    fixed = column.physical_type == "FIXED_LEN_BYTE_ARRAY"
    width = column.length if fixed else _WIDTHS.get(column.physical_type, 0)
    return int(chunk.num_values) * int(width)


def _is_shared(chunk: Any) -> bool:
    """Whether a chunk may hold a text once for several rows."""
    encodings = {"PLAIN_DICTIONARY", "RLE_DICTIONARY", "DELTA_BYTE_ARRAY"} & {*chunk.encodings}
    return chunk.physical_type == "BYTE_ARRAY" and bool(encodings)


def _longest_value(chunk: Any, opened: Callable[[], BinaryIO]) -> int:
    """The most that a text which rows share can take: all of the page of the dictionary."""
    whole = int(chunk.total_uncompressed_size)
    start = chunk.dictionary_page_offset
    if start is None or "DELTA_BYTE_ARRAY" in chunk.encodings:
        return whole
    try:
        with opened() as file:
            header, _ = next(pages(chunk, file))
        return int(header[2])
    except (KeyError, BrokenPageError):
        return whole
