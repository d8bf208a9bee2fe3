"""Reads Arrow's IPC files and streams: Feather (version 2), and the cache of `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import pyarrow as pa

from actors.errors import InputError
from jobs.input.base import BATCH_BYTES, BATCH_ROWS, InputFile
from jobs.input.disguise import undisguised
from jobs.input.schema import cast_to, plain_schema
from jobs.input.source import Source

MAGIC = b"ARROW1"
"""At the beginning of a file; a stream has none."""


class ArrowFile(InputFile):
    """An IPC file or stream. Opening it reads the schema alone."""

    def __init__(self, file: Source) -> None:
        super().__init__(file)
        with undisguised(file), self.refusing(), self._source() as source:
            self._schema = plain_schema(_reader(source).schema)
        names = self._schema.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{file}: two columns are called {twice[0]!r}. Rename one.")

    @property
    def schema(self) -> pa.Schema:
        """The columns, with the metadata that other programs read."""
        return self._schema

    @cached_property
    def num_rows(self) -> int:
        """Reads the file through, of which little is kept."""
        return sum(batch.num_rows for batch in self._batches())

    def batches(self, skip: int = 0, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows after the first `skip`."""
        names = columns or self._schema.names
        schema = pa.schema(
            [self._schema.field(name) for name in names], metadata=self._schema.metadata
        )
        for batch in self._batches():
            kept = batch.slice(min(skip, batch.num_rows))
            skip -= batch.num_rows - kept.num_rows
            rows = max(1, min(BATCH_ROWS, BATCH_BYTES * batch.num_rows // max(1, batch.nbytes)))
            for first in range(0, kept.num_rows, rows):
                some = kept.slice(first, rows)
                arrays = [cast_to(some.column(f.name), f.type) for f in schema]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with self.refusing(), self._source() as source:
            reader = _reader(source)
            places = (
                range(reader.num_record_batches)
                if isinstance(reader, pa.ipc.RecordBatchFileReader)
                else None
            )
            for batch in reader if places is None else map(reader.get_batch, places):
                # A broken file says where in the memory a column lies: it is looked at first.
                batch.validate(full=True)
                yield batch

    def _source(self) -> pa.NativeFile:
        where = self.file.for_arrow()
        return pa.PythonFile(where) if hasattr(where, "read") else pa.memory_map(str(where))


def _reader(source: pa.NativeFile) -> pa.RecordBatchReader:
    is_file = source.read(len(MAGIC)) == MAGIC
    source.seek(0)
    return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
