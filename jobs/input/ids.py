"""Are the rows' ids different? Looked up in 8 bytes a row, whatever the ids are."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from actors.errors import InputError
from jobs.input.prompts import Prompts

MAX_SUSPECTS = 1000


def check_ids(prompts: Prompts) -> None:
    """Refuse an id that two rows have: their seeds would be the same. Null and "" are no ids.

    Reads the id column through once, and once more to name the two rows. Raises InputError.
    """
    if prompts.spec.id_column is None:
        return
    hashes = np.fromiter((_hash(name) for _, name in _ids(prompts)), np.uint64)
    hashes.sort()
    suspects = set(hashes[1:][hashes[1:] == hashes[:-1]][:MAX_SUSPECTS].tolist())
    first_row: dict[str, int] = {}
    for row, name in _ids(prompts) if suspects else ():
        if _hash(name) not in suspects:
            continue
        if name in first_row:
            raise InputError(
                f"id_column {prompts.spec.id_column!r} has {name!r} in row {first_row[name]} and "
                f"in row {row} (counted from 0). An id names one row: change one, or leave "
                "id_column out to number the rows."
            )
        first_row[name] = row


def _ids(prompts: Prompts) -> Iterator[tuple[int, str]]:
    values = enumerate(prompts.ids())
    return ((row, str(value)) for row, value in values if value not in (None, ""))


def _hash(name: str) -> int:
    digest = blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
