"""The interface of every format's reader: columns, number of rows, and the rows, lazily.

The formats are in `jobs.input.text` (CSV, JSON Lines, text) and `jobs.input.parquet`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b

import pyarrow as pa

from actors.errors import InputError, StorageError
from jobs.input.source import Source

BATCH_ROWS = 1024
"""Chosen: a part of the default size is one batch; at 4 KiB a prompt it takes 4 MiB."""
BATCH_BYTES = 16 * 2**20
"""Of a batch of long rows. Chosen: a slice of a batch keeps all of it, so an open part may hold
this much more than its own rows; it is four times a batch of usual prompts."""
MAX_ROW_BYTES = 2**30
"""Of the rows that are decoded at once, and so of one row. Chosen: as much as a part may hold."""
WHOLLY_HASHED_BYTES = 64 * 2**20
"""Measured: hashing this much takes about a second on a busy machine, and each start hashes it."""
END_BYTES = 2**20
"""Of a larger file, at both ends: appended rows and a Parquet footer change the end."""


class InputFile(ABC):
    """One file of the input, as it was when this object was made."""

    def __init__(self, file: Source) -> None:
        self.file = file

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """The columns, with the metadata that other programs read."""

    @property
    def held_schema(self) -> pa.Schema:
        """The same as the file holds them: with dictionaries, runs, views and its own units."""
        return self.schema

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """Rows of the file."""

    @property
    def can_seek(self) -> bool:
        """Whether `batches` skips rows without reading them."""
        return False

    @property
    def group_sizes(self) -> list[tuple[int, int]] | None:
        """Rows and unpacked bytes of each stretch of the file; None if only its rows say so."""
        return None

    @abstractmethod
    def batches(self, skip: int = 0, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows after the first `skip`; all columns, or these.

        At most BATCH_ROWS at a time, and about BATCH_BYTES.
        """

    def pick(self, rows: Sequence[int], columns: list[str]) -> pa.Table:
        """The rows with these numbers, ascending; at least one."""
        return pa.Table.from_batches(rows_among(self.batches(columns=columns), rows))

    @cached_property
    def content_hash(self) -> str:
        """Of every byte; of a large file (over 64 MiB) only of the first and the last MiB.

        So a file of any size is hashed in about a second. The hash misses a change in the middle
        of a large file that keeps its size.
        """
        digest = blake2b(digest_size=8)
        with self.refusing(), self.file.open() as content:
            size = self.file.size
            if size <= WHOLLY_HASHED_BYTES:
                digest.update(content.read())
            else:
                digest.update(content.read(END_BYTES))
                content.seek(size - END_BYTES)
                digest.update(content.read())
        self.check_unchanged()
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """Raises InputError if the file is no longer the one that was opened."""
        try:
            is_unchanged = self.file.is_unchanged()
        except StorageError as error:
            raise InputError(f"input {error.where} {error.what}.") from error
        if not is_unchanged:
            raise InputError(
                f"{self.file} changed while it was read: its size or modification time is another "
                "than when the job began. Put it back as it was and run the same command again, "
                "or start anew in another output folder."
            )

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Turns errors of pyarrow and of the system into an InputError that names the file.

        If the file changed meanwhile, the error names the change as the reason.
        """
        try:
            yield
        except StorageError as error:
            raise InputError(f"input {error.where} {error.what}.") from error
        except (pa.ArrowException, OSError) as error:
            self.check_unchanged()
            reason = str(error).splitlines()[0].rstrip(".")
            raise InputError(
                f"{self.file}: cannot be read: {reason}. Mend or remove the file."
            ) from error


def rows_among(
    batches: Iterable[pa.RecordBatch], rows: Sequence[int], first: int = 0
) -> Iterator[pa.RecordBatch]:
    """The rows with these numbers out of consecutive batches, which begin with row `first`.

    It takes them batch by batch: `take` on a whole column overflows at 2 GiB of text.
    """
    for batch in batches:
        begin, end = bisect_left(rows, first), bisect_left(rows, first + batch.num_rows)
        if here := [row - first for row in rows[begin:end]]:
            yield batch.take(pa.array(here))
        first += batch.num_rows
