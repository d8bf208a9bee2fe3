"""Opens a finished part for reading; one that cannot be read is refused with the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import OutputError


@contextmanager
def open_part(file: Path) -> Iterator[pq.ParquetFile]:
    """The part's Parquet file. Errors of the disk, of Parquet and of pictures, also those that the
    block meets, become an OutputError that names the file."""
    try:
        with pq.ParquetFile(file) as parquet:
            yield parquet
    # Pillow raises a SyntaxError for a PNG that is broken in the middle.
    except (pa.ArrowException, OSError, SyntaxError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise OutputError(
            f"{file} cannot be read ({reason}). `bottega verify` says what to do about it."
        ) from error
