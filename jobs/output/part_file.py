"""Opens a finished part for reading; one that cannot be read is refused with the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import MissingError, OutputError, StorageError
from jobs.output.folder import OutputFolder


@contextmanager
def open_part(folder: OutputFolder, index: int, check: bool = False) -> Iterator[pq.ParquetFile]:
    """The Parquet file of a part. Errors of the storage, of Parquet and of pictures, also those
    that the block meets, become an OutputError that names the file.

    check: whether the checksum of each page is compared when it is read.
    """
    storage, name = folder.storage, folder.part_name(index)
    try:
        entry = storage.find(name)
        if entry is None:
            raise MissingError(storage.name_of(name), "is not there")
        # pre_buffer: a row group is one request of an object store instead of one a column.
        options = {"pre_buffer": True, "page_checksum_verification": check}
        with storage.open(entry) as file, pq.ParquetFile(file, **options) as parquet:
            yield parquet
    # Pillow raises a SyntaxError for a PNG that is broken in the middle.
    except (pa.ArrowException, OSError, SyntaxError, StorageError) as error:
        reason = getattr(error, "what", None)
        reason = reason or next(iter(str(error).splitlines()), type(error).__name__)
        raise OutputError(
            f"{storage.name_of(name)} cannot be read ({reason}). `bottega verify` says what to do "
            "about it."
        ) from error
