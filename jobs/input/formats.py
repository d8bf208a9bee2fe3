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

UNREADABLE = frozenset(
    {
        *(".7z", ".lz4", ".rar", ".tar", ".tgz", ".xz", ".zip"),
        *(".avro", ".dta", ".h5", ".hdf5", ".lance", ".msgpack", ".npy", ".npz", ".orc", ".pickle"),
        *(".pkl", ".rds", ".sav", ".tfrecord"),
        *(".db", ".ods", ".sqlite", ".sqlite3", ".xls", ".xlsx", ".xml"),
    }
)
"""Endings of data that Bottega does not read. A folder with one is refused: leaving it out in
silence would be a wrong dataset."""

LEFT_BY_TOOLS = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
)
"""Files that Hugging Face `datasets` writes beside the data. Names that begin with a dot or an
underscore are others': `.DS_Store`, `_SUCCESS`, `_metadata`."""


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


def is_unread_data(name: str) -> bool:
    """Whether a file looks like data, and is none that Bottega reads."""
    ending = PurePosixPath(name.lower()).suffix
    return kind_of(name) is None and (ending in UNREADABLE or ending in PACKINGS)


def is_left_by_tools(path: str) -> bool:
    """Whether a file below the input's folder is there for another program."""
    steps = PurePosixPath(path).parts
    return any(step.startswith(("_", ".")) for step in steps) or steps[-1] in LEFT_BY_TOOLS


def natural(path: str) -> list[tuple[int, int | str]]:
    """The key by which files are sorted: `p2` comes before `p10`, and a folder before its
    neighbours of longer names."""
    pieces = re.split(r"(\d+)", path.replace("/", "\0"))
    return [(0, int(one)) if one.isdecimal() else (1, one) for one in pieces if one]


def known() -> str:
    """The endings, for people."""
    return f"{', '.join(FAMILIES)}; text also with {', '.join(PACKINGS)}"
