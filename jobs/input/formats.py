"""Which files are data, by the endings of their names, and in which order they are read: pure."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

Family = Literal["parquet", "arrow", "csv", "json", "txt"]
"""Formats that one job reads together: tab-separated files are CSV, too, and an array of JSON is
read as its lines would be."""

Packing = Literal["gzip", "zstd", "bz2"]

FAMILIES: dict[str, Family] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".txt": "txt",
}
PACKINGS: dict[str, Packing] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
"""Of text; Parquet and Arrow pack their own columns."""


class Kind(NamedTuple):
    """How a file is read. ending: without that of its packing."""

    family: Family
    ending: str
    packing: Packing | None = None


def kind_of(name: str) -> Kind | None:
    """How a file of this name is read; None if it is no data that Bottega reads."""
    path = PurePosixPath(name.lower())
    ending = path.suffix
    packing = PACKINGS.get(ending)
    if packing:
        ending = PurePosixPath(path.stem).suffix
    family = FAMILIES.get(ending)
    if family is None or (packing and family in ("parquet", "arrow")):
        return None
    return Kind(family, ending, packing)


def natural(path: str) -> tuple[list[tuple[int, int | str]], str]:
    """The key by which files are sorted: `p2` comes before `p10`, and a folder before its
    neighbours of longer names. `p1` and `p01` are two names, so that the order is always one."""
    pieces = re.split(r"(\d+)", path.replace("/", "\0"))
    return [(0, int(one)) if one.isdecimal() else (1, one) for one in pieces if one], path


def known() -> str:
    """The endings, for people."""
    return f"{', '.join(FAMILIES)}; text also with {', '.join(PACKINGS)}"
