"""Checks of rows: of each prompt, text and seed, so that a bad row fails alone; and of all ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from actors.errors import InputError
from actors.seeds import MAX_SEED

MAX_PROMPT_CHARS = 4 * 2**20
"""Chosen: text encoders read some hundred tokens; a longer text is a file in the wrong column."""
MAX_SUSPECTS = 1000
"""Hashes that occur twice, of which one pair is shown. Chosen: bounds the memory of equal ids."""


def problem_with_prompt(prompt: str | None) -> str | None:
    """The reason why a prompt is invalid; None for a valid one, of any length up to the cap."""
    if prompt is None:
        return "the prompt is null"
    if not prompt.strip():
        return "the prompt is empty"
    if "\0" in prompt:
        return f"the prompt has a NUL character at position {prompt.index(chr(0))}"
    if len(prompt) > MAX_PROMPT_CHARS:
        return f"the prompt has {len(prompt):,} characters; at most {MAX_PROMPT_CHARS:,} are read"
    return None


def as_seed(value: Any) -> int | None:
    """The seed in an integer or in the text of a CSV cell; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,19}\s*", value):
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_SEED else None


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def with_valid_text(table: pa.Table) -> tuple[pa.Table, dict[int, str]]:
    """The table with U+FFFD in place of invalid UTF-8, and the rows that had it, with the reason.

    Arrow would write a part with invalid text, and then no program could read it.
    """
    bad: dict[int, str] = {}
    for place, field in enumerate(table.schema):
        try:
            table.column(place).validate(full=True)
        except pa.ArrowInvalid as error:
            if not is_text(field.type):
                raise InputError(
                    f"column {field.name!r} ({field.type}) has an invalid value: {error}. "
                    "Mend or leave out the column."
                ) from error
            raw = table.column(place).cast(pa.large_binary()).to_pylist()
            text = [None if value is None else value.decode(errors="replace") for value in raw]
            for row, (before, after) in enumerate(zip(raw, text, strict=True)):
                if after is not None and before != after.encode():
                    bad.setdefault(row, f"column {field.name!r} is not valid Unicode text")
            table = table.set_column(place, field, pa.array(text, field.type))
    return table, bad


def check_ids(column: str, read: Callable[[], Iterable[object]]) -> None:
    """Refuse an id that two rows have: their seeds would be the same. Null and "" are no ids.

    read: opens the values of the id column, row after row; called a second time to name the two
    rows. The comparison holds a hash of 8 bytes for each row. Raises InputError.
    """
    hashes = np.fromiter((_hash(name) for _, name in _ids(read())), np.uint64)
    hashes.sort()
    suspects = set(hashes[1:][hashes[1:] == hashes[:-1]][:MAX_SUSPECTS].tolist())
    first_row: dict[str, int] = {}
    for row, name in _ids(read()) if suspects else ():
        if _hash(name) not in suspects:
            continue
        if name in first_row:
            raise InputError(
                f"id_column {column!r} has {name!r} in row {first_row[name]} and "
                f"in row {row} (counted from 0). An id names one row: change one, or leave "
                "id_column out to number the rows."
            )
        first_row[name] = row


def _ids(values: Iterable[object]) -> Iterator[tuple[int, str]]:
    return ((row, str(value)) for row, value in enumerate(values) if value not in (None, ""))


def _hash(name: str) -> int:
    digest = blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
