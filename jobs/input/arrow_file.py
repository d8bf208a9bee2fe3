"""Reads Arrow's IPC files and streams: Feather (version 2), and the cache of `datasets`.

A file is read as the stream that it holds, from its beginning to its end: so what is looked at
before it is unpacked is what is unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa

from actors.errors import InputError
from jobs.input.arrow_messages import message_sizes
from jobs.input.base import BATCH_BYTES, BATCH_ROWS, MAX_ROW_BYTES, InputFile
from jobs.input.casting import cast_column
from jobs.input.column_names import check_width, named_twice
from jobs.input.decoded_size import decoded_bytes
from jobs.input.disguise import undisguised
from jobs.input.schema import may_not_fit, plain_schema
from jobs.input.source import Source

MAGIC = b"ARROW1"
"""At the beginning of a file; a stream has none. Two bytes follow, and then the stream."""

MAX_UNPACKED_BYTES = 2 * 2**30
"""The most that a record batch may unpack to, as a row group of Parquet."""
MAX_UNPACKING, FREELY_UNPACKED_BYTES = 500, 2**28
"""A file may unpack to this many times its size, or to this many bytes if that is more."""


class ArrowFile(InputFile):
    """An IPC file or stream. Opening it reads the schema alone."""

    def __init__(self, file: Source) -> None:
        super().__init__(file)
        with undisguised(file), self.refusing(), self._source() as source:
            self._held = _reader(source).schema
        self._schema = plain_schema(self._held)
        names = self._schema.names
        if twice := named_twice(names):
            raise InputError(f"{file}: two columns are called {twice!r}. Rename one.")
        check_width(str(file), names)

    @property
    def schema(self) -> pa.Schema:
        """The columns, with the metadata that other programs read."""
        return self._schema

    @property
    def held_schema(self) -> pa.Schema:
        """The columns as the file holds them."""
        return self._held

    @cached_property
    def num_rows(self) -> int:
        """Reads the file through, of which little is kept.

        Refuses times that have no place in Parquet's units, and decimals of more digits than their
        type has: a job that has begun ends with them.
        """
        self._check_unpacked()
        rows = sum(int(batch.num_rows) for batch in self._batches())
        if names := [field.name for field in self._held if may_not_fit(field.type)]:
            for _ in self.batches(columns=names):
                pass
        return rows

    def batches(self, skip: int = 0, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows after the first `skip`."""
        names = columns or self._schema.names
        schema = pa.schema(
            [self._schema.field(name) for name in names], metadata=self._schema.metadata
        )
        for batch in self._batches():
            kept = batch.slice(min(skip, batch.num_rows))
            skip -= batch.num_rows - kept.num_rows
            for first in range(0, kept.num_rows, BATCH_ROWS):
                for some in self._cut(kept.slice(first, BATCH_ROWS).select(names)):
                    arrays = [cast_column(some.column(f.name), f, self.file) for f in schema]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _cut(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The batch in pieces of about BATCH_BYTES by what they decode to, and a row at least."""
        sizes = sum(map(decoded_bytes, batch.columns), np.zeros(batch.num_rows, np.int64))
        first, held = 0, 0
        for row, size in enumerate(sizes.tolist()):
            if size > MAX_ROW_BYTES:
                raise InputError(
                    f"{self.file}: a row takes {size:,} bytes, and {MAX_ROW_BYTES:,} is the most. "
                    "Give large values as paths to files."
                )
            if held and held + size > BATCH_BYTES:
                yield batch.slice(first, row - first)
                first, held = row, 0
            held += size
        yield batch.slice(first)

    def _check_unpacked(self) -> None:
        """Refuse a file that would fill the memory, before anything of it is unpacked."""
        unpacked, batches = 0, 0
        with self.refusing(), self._source() as source:
            is_file = _to_stream(source)
            for size in message_sizes(source):
                unpacked, batches = unpacked + size.unpacked, batches + size.is_batch
                if size.unpacked > MAX_UNPACKED_BYTES:
                    raise InputError(
                        f"{self.file}: a batch unpacks to {size.unpacked:,} bytes, and "
                        f"{MAX_UNPACKED_BYTES:,} is the most. Write it in smaller batches."
                    )
            if is_file and pa.ipc.open_file(source).num_record_batches != batches:
                raise pa.ArrowInvalid("its footer names other batches than it has")
        if unpacked > max(FREELY_UNPACKED_BYTES, MAX_UNPACKING * self.file.size):
            raise InputError(
                f"{self.file} has {self.file.size:,} bytes and unpacks to {unpacked:,}: more than "
                f"{MAX_UNPACKING} times its size. Is it what you mean? Write it uncompressed."
            )

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with self.refusing(), self._source() as source:
            for batch in _reader(source):
                # A broken file says where in the memory a column lies: it is looked at first.
                batch.validate(full=True)
                yield batch

    def _source(self) -> pa.NativeFile:
        where = self.file.for_arrow()
        return pa.PythonFile(where) if hasattr(where, "read") else pa.memory_map(str(where))


def _reader(source: pa.NativeFile) -> pa.RecordBatchReader:
    _to_stream(source)
    return pa.ipc.open_stream(source)


def _to_stream(source: pa.NativeFile) -> bool:
    """Go to where the stream begins; returns whether it is in a file, which ends in a footer."""
    is_file = bool(source.read(len(MAGIC)) == MAGIC)
    source.seek(len(MAGIC) + 2 if is_file else 0)
    return is_file
