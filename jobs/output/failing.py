"""Turns a storage's refusal into the error of an output, with the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from actors.errors import OutputFailedError, StorageError
from jobs.storage.storage import Storage


@contextmanager
def failing_in(storage: Storage) -> Iterator[None]:
    """Turns a StorageError into an OutputFailedError that names the output and the next step."""
    try:
        yield
    except StorageError as error:
        output = "the output folder" if storage.is_local else "the output"
        place = storage.url if error.where == storage.url else error.where
        raise OutputFailedError(
            f"{output} {place!r} {error.what}, and run the same command again; finished parts stay "
            "good."
        ) from error
