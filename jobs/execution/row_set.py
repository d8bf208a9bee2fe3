"""Sets of a part's rows as bits of an integer: joined, cut and looked up whole.

A job has millions of rows and one driver, so nothing is kept for each row where a set will do.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

RowSet = int
"""Some rows of a part: bit n is row n."""


def row_set(rows: Sequence[int]) -> RowSet:
    """The set of some rows, ascending."""
    if rows and rows[-1] - rows[0] + 1 == len(rows):
        return ((1 << len(rows)) - 1) << rows[0]
    return sum(1 << row for row in rows)


def sets_of_equals(values: Sequence[Hashable]) -> tuple[RowSet, ...]:
    """The rows with equal values, a set for each value, in the order in which they come first."""
    found: dict[Hashable, RowSet] = {}
    for row, value in enumerate(values):
        found[value] = found.get(value, 0) | 1 << row
    return tuple(found.values())


def lowest(rows: RowSet) -> int:
    """The first row of a set that is not empty."""
    return (rows & -rows).bit_length() - 1


def members_among(members: RowSet, rows: Sequence[int]) -> tuple[int, ...]:
    """Those of `rows`, ascending, that are in the set."""
    if not rows:
        return ()
    first, span = rows[0], rows[-1] - rows[0] + 1
    near = members >> first & (1 << span) - 1  # a short integer, which is quick to look at
    if near.bit_count() == len(rows) == span:
        return tuple(rows)
    return tuple([row for row in rows if near >> row - first & 1])


def batches(rows: Sequence[int], size: int) -> Iterable[tuple[int, ...]]:
    """`rows` cut every `size`; the last batch may be shorter."""
    for first in range(0, len(rows), size):
        yield tuple(rows[first : first + size])
