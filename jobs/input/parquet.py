"""Reads Parquet lazily: it counts rows by the footer and begins at any row group.

Measured on 100 million rows: the memory of `ParquetFile.iter_batches` grows by 93 MiB, that of
`dataset.to_batches()` with its defaults by 1.6 GiB.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import InputError
from jobs.input.base import BATCH_BYTES, BATCH_ROWS, MAX_ROW_BYTES, InputFile, rows_among
from jobs.input.casting import cast_column
from jobs.input.column_names import check_width, named_twice
from jobs.input.disguise import undisguised
from jobs.input.parquet_pages import BrokenPageError
from jobs.input.parquet_sizes import longest_row, row_bytes, unpacked_bytes
from jobs.input.schema import plain_schema
from jobs.input.source import Source

MAX_UNPACKED_BYTES = 2 * 2**30
"""The most that a row group may unpack to. Writers' defaults stay below a tenth of it."""
MAX_UNPACKING, FREELY_UNPACKED_BYTES = 500, 2**28
"""A file may unpack to this many times its size, or to this many bytes if that is more.

Seen: 33 kB of one letter unpack to 1 GiB, 30,000 times as much.
"""


class ParquetFile(InputFile):
    """A Parquet file. Opening it reads the footer alone."""

    def __init__(self, file: Source) -> None:
        super().__init__(file)
        with undisguised(file), self.refusing(), self._open() as opened:
            footer, self._held = opened.metadata, opened.schema_arrow
        self._footer, self._schema = footer, plain_schema(self._held)
        self._num_rows = int(footer.num_rows)
        self._longest: dict[tuple[int, ...], float] = {}
        names = self._schema.names
        if twice := named_twice(names):
            raise InputError(f"{file}: two columns are called {twice!r}. Rename one.")
        check_width(str(file), names)
        groups = [footer.row_group(n) for n in range(footer.num_row_groups)]
        self._group_sizes = [(int(g.num_rows), unpacked_bytes(g, footer.schema)) for g in groups]
        self._check_unpacked([int(group.total_byte_size) for group in groups])

    @property
    def schema(self) -> pa.Schema:
        """The columns, with the metadata that other programs read."""
        return self._schema

    @property
    def held_schema(self) -> pa.Schema:
        """The columns as the file holds them."""
        return self._held

    @property
    def can_seek(self) -> bool:
        """By row groups."""
        return True

    @property
    def num_rows(self) -> int:
        """From the footer."""
        return self._num_rows

    @property
    def group_sizes(self) -> list[tuple[int, int]]:
        """Rows and unpacked bytes of each row group, from the footer.

        A column of few values is packed as a dictionary, and takes more in memory.
        """
        return self._group_sizes

    def batches(self, skip: int = 0, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows after the first `skip`; skips whole row groups unread."""
        with self.refusing(), self._open() as file:
            groups = list(range(file.metadata.num_row_groups))
            while groups and skip >= file.metadata.row_group(groups[0]).num_rows:
                skip -= file.metadata.row_group(groups.pop(0)).num_rows
            # Row groups alike are read on end: a batch then goes on in the next one, and a part is
            # one batch, not two that have to be copied together.
            for size, alike in groupby(groups, lambda group: self._batch_rows(group, columns)):
                for batch in self._read(file, size, list(alike), columns):
                    kept = batch.slice(min(skip, batch.num_rows))
                    skip -= batch.num_rows - kept.num_rows
                    if kept.num_rows:
                        yield kept

    def pick(self, rows: Sequence[int], columns: list[str]) -> pa.Table:
        """The rows with these numbers, ascending; reads only the row groups that hold them."""
        picked: list[pa.RecordBatch] = []
        with self.refusing(), self._open() as file:
            first = 0
            for group in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if bisect_left(rows, first) < bisect_left(rows, first + size):
                    at_once = self._batch_rows(group, columns)
                    batches = self._read(file, at_once, [group], columns)
                    picked += rows_among(batches, rows, first)
                first += size
        return pa.Table.from_batches(picked)

    def _read(
        self, file: pq.ParquetFile, rows: int, groups: list[int], columns: list[str] | None
    ) -> Iterator[pa.RecordBatch]:
        for batch in file.iter_batches(rows, row_groups=groups, columns=columns):
            schema = pa.schema([self._schema.field(name) for name in batch.schema.names])
            arrays = [
                cast_column(column, field, self.file)
                for column, field in zip(batch.columns, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _batch_rows(self, group: int, columns: list[str] | None) -> int:
        """The rows of a row group that are read at once, by their mean size in the footer."""
        chunks, schema = self._footer.row_group(group), self._footer.schema
        paths = [chunks.column(place).path_in_schema for place in range(chunks.num_columns)]
        places = [
            place
            for place, path in enumerate(paths)
            if columns is None or {path, path.split(".")[0]} & {*columns}
        ]
        longest = self._longest_row(group, places)
        if longest > MAX_ROW_BYTES:
            raise InputError(
                f"{self.file}: a row of row group {group} may take {longest:,.0f} bytes, and "
                f"{MAX_ROW_BYTES:,} is the most: its columns name one long text many times. Write "
                "it without dictionaries (in pyarrow: use_dictionary=False) and without "
                "DELTA_BYTE_ARRAY."
            )
        at_most = min(BATCH_ROWS, int(MAX_ROW_BYTES // max(1.0, longest)))
        return max(1, min(int(BATCH_BYTES // max(1.0, row_bytes(chunks, schema, places))), at_most))

    def _longest_row(self, group: int, places: list[int]) -> float:
        key = (group, *places)
        if key not in self._longest:
            try:
                found = longest_row(self._footer, group, places, self.file.open)
            except BrokenPageError as error:
                raise InputError(
                    f"{self.file}: a page of row group {group} is broken: {error}. Write the file "
                    "again."
                ) from error
            self._longest[key] = found
        return self._longest[key]

    def _open(self) -> pq.ParquetFile:
        return pq.ParquetFile(
            self.file.for_arrow(),
            pre_buffer=self.file.local_path is None,
            page_checksum_verification=True,
            # UUID and JSON keep their types.
            arrow_extensions_enabled=True,
            # The old form of a timestamp, of 96 bits, reaches further than nanoseconds of 64 do:
            # 9999-12-31 would become 1816. Spark writes it with microseconds.
            coerce_int96_timestamp_unit="us",
        )

    def _check_unpacked(self, sizes: list[int]) -> None:
        """Refuse a file that would fill the memory: gigabytes of one letter pack into kilobytes.

        sizes: of the row groups' pages.
        """
        for number, (_, size) in enumerate(self._group_sizes):
            if size > MAX_UNPACKED_BYTES:
                raise InputError(
                    f"{self.file}: row group {number} unpacks to {size:,} bytes, and "
                    f"{MAX_UNPACKED_BYTES:,} is the most. Write it with smaller row groups."
                )
        packed = self.file.size
        if sum(sizes) > max(FREELY_UNPACKED_BYTES, MAX_UNPACKING * packed):
            raise InputError(
                f"{self.file} has {packed:,} bytes and unpacks to {sum(sizes):,}: more than "
                f"{MAX_UNPACKING} times its size. Is it what you mean? Write it uncompressed."
            )
