"""Derives the seeds from which every random number of a job comes.

A job has a seed, a row has a seed, and each stage of a row has its own: nothing else is random.
So a row's noise depends on the row alone, never on its batch, its actor, or the time.
"""

from __future__ import annotations

from hashlib import blake2b

MAX_SEED = 2**63 - 1
"""Seeds are integers in 0..MAX_SEED: what a signed 64-bit Parquet column and torch both hold."""


def derive_seed(seed: int, name: str) -> int:
    """A seed in 0..MAX_SEED that depends on `seed` and `name`, and on nothing else.

    blake2b rather than `hash` or an addition: the same on every machine and Python, and two names
    do not give related streams.
    """
    digest = blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & MAX_SEED


def row_seed(job_seed: int, row_id: str) -> int:
    """The seed of a row that brings none of its own."""
    return derive_seed(job_seed, f"row/{row_id}")


def nameless_row_seed(job_seed: int, number: int) -> int:
    """The seed of a row without an id, among rows that have one: no id leads to it."""
    return derive_seed(job_seed, f"number/{number}")


def stage_seed(seed: int, stage: str) -> int:
    """The seed of one stage (`student`, `teacher`) of the row with `seed`."""
    return derive_seed(seed, f"stage/{stage}")
