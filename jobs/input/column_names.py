"""What columns of an input may be called: pure.

A dataset is read by DuckDB, Spark, pandas and `datasets`. Each has names that it cannot tell apart,
or that it takes for its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import pyarrow as pa

from actors.errors import InputError

MAX_COLUMNS = 10_000
"""Chosen: ten times the widest tables that people have; a line of 16 MB may name millions."""


def too_wide(columns: int) -> str:
    """The sentence about so many columns, without its end."""
    return f"{columns:,} columns, and at most {MAX_COLUMNS:,} are read"


def check_width(where: str, names: Collection[str]) -> None:
    """Raises InputError for more than MAX_COLUMNS."""
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{where} has {too_wide(len(names))}. Leave some out.")


def named_twice(names: Sequence[str]) -> str | None:
    """The first name that two columns have."""
    return next((name for name, times in Counter(names).items() if times > 1), None)


def check_readable(schema: pa.Schema, ours: Collection[str] = ()) -> None:
    """Refuse names with which somebody could not read the dataset; tried with DuckDB 2, pandas 3,
    pyarrow 26 and Spark 4.

    ours: names of the columns that the job adds. Raises InputError.
    """
    nested = {field.name for field in schema if field.type.num_fields}
    for name in schema.names:
        if not name:
            raise InputError(
                "the input has a column without a name, which DuckDB calls otherwise. Name it, or "
                "leave it out (pandas writes one with its index: to_csv(index=False) does not)."
            )
        if name in _OF_PYARROW:
            raise InputError(
                f"the input has a column {name!r}, a name that pyarrow's datasets, and so pandas, "
                "keep for themselves: they could not read the output. Rename it in the input."
            )
        if (first := name.partition(".")[0]) in nested - {name}:
            raise InputError(
                f"the input has a column {name!r} beside a column {first!r} with fields: readers "
                "take the one for a field of the other. Rename one in the input."
            )
    _check_alike([*ours, *(name for name in schema.names if name not in ours)], "column", ours)
    for field in schema:
        _check_fields(field.name, field.type)


_OF_PYARROW = frozenset({"__batch_index", "__filename", "__fragment_index", "__last_in_fragment"})
"""Columns that `pyarrow.dataset` adds to every file that it scans."""


def _check_fields(column: str, kind: pa.DataType) -> None:
    """The same of the fields in a column of structs."""
    inner = [kind.field(place) for place in range(kind.num_fields)]
    if pa.types.is_struct(kind):
        _check_alike([field.name for field in inner], f"field of {column!r}")
    for field in inner:
        _check_fields(column, field.type)


def _check_alike(names: Sequence[str], what: str, ours: Collection[str] = ()) -> None:
    known = dict[str, str]()
    for name in names:
        if (lower := name.lower()) not in known:
            known[lower] = name
            continue
        other = known[lower]
        whose = f"the output's own {other!r}" if other in ours else f"another {what}, {other!r}"
        differ = "has the name of" if other == name else "differs only in case from"
        raise InputError(
            f"the input has a {what} {name!r} that {differ} {whose}: DuckDB, Spark and pandas "
            "rename one of them, or lose it. Rename it in the input."
        )
