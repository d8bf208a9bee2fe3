"""Parquet files with every column but the pictures: for statistics, filters and joins.

A column `__key__` has the row's number of twelve digits, as a WebDataset's readers call it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.output.export.samples import pictures_of

KEY = "__key__"

GROUP_ROWS = 65_536
"""Of a row group. Chosen: some 10 MB of prompts, and few groups for a whole shard."""


def without_pictures(parquet: pq.ParquetFile, first_row: int) -> Iterator[pa.Table]:
    """A part's rows without its pictures, which are not read."""
    left_out = set(pictures_of(parquet.schema_arrow))
    columns = [name for name in parquet.schema_arrow.names if name not in left_out]
    number = first_row
    for batch in parquet.iter_batches(GROUP_ROWS, columns=columns):
        keys = pa.array([f"{row:012d}" for row in range(number, number + batch.num_rows)])
        number += batch.num_rows
        yield pa.table(
            [keys, *batch.columns], names=[KEY, *batch.schema.names]
        ).replace_schema_metadata(None)


def write_metadata(file: BinaryIO, tables: Iterator[pa.Table]) -> int:
    """Write the tables, some of them to a row group; returns the number of rows."""
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    rows = written = 0

    def flush() -> None:
        nonlocal writer, waiting, rows
        table = pa.concat_tables(waiting).combine_chunks()
        if writer is None:
            writer = pq.ParquetWriter(file, table.schema, compression="zstd", write_page_index=True)
        writer.write_table(table, row_group_size=GROUP_ROWS)
        waiting, rows = [], 0

    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        written += table.num_rows
        if rows >= GROUP_ROWS:
            flush()
    if waiting:
        flush()
    if writer is not None:
        writer.close()
    return written
