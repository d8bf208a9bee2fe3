"""Which parts of a dataset go into which file of an export. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

SHARD_BYTES = 1_000_000_000
"""Of a file of an export, about: WebDataset's readers and the hub want tars of 1 GB."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of an export. `parts`: the numbers of the parts in it. `source`: a hash of them."""

    name: str
    parts: tuple[int, ...]
    source: str


def cut(
    records: Mapping[int, Mapping[str, Any]], name: str, shard_bytes: int, size_of: str = "bytes"
) -> list[Shard]:
    """Consecutive parts, as many in each shard as fit, and at least one.

    records: of all parts. name: of a file, with `{}` for its number. size_of: the field of a record
    that counts.
    """
    groups: list[list[int]] = []
    held = 0
    for index in sorted(records):
        size = records[index][size_of]
        if not groups or held + size > shard_bytes:
            groups.append([])
            held = 0
        groups[-1].append(index)
        held += size
    return [
        Shard(name.format(f"{number:06d}"), tuple(group), _hash([records[n] for n in group]))
        for number, group in enumerate(groups)
    ]


def _hash(records: Sequence[Mapping[str, Any]]) -> str:
    return sha256("\n".join(record["sha256"] for record in records).encode()).hexdigest()
