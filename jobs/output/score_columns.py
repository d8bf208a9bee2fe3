"""The columns of the scores that decide nothing: `extra_scores` and `filters` of the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa

from actors.settings import FilterSettings, OracleSettings

FLAGGED = "flagged"
"""The field of a record that counts the rows that each filter flagged, by its column. Only in
records of jobs with filters."""


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """The column of an extra score; of a filter with `above` or `below`, and a column of flags."""

    name: str
    above: float | None = None
    below: float | None = None
    scorer: str = ""
    """For people: what scores."""

    @property
    def flags(self) -> str | None:
        """The name of the column of flags; None without one."""
        return None if self.above is self.below is None else f"{self.name}_flagged"

    @property
    def kinds(self) -> dict[str, pa.DataType]:
        """Its columns, with their types."""
        flags = {self.flags: pa.bool_()} if self.flags else {}
        return {self.name: pa.float32(), **flags}

    def values(self, score: float | None) -> dict[str, float | bool | None]:
        """What its columns hold for a score: null for none, and for one that is no finite number.

        The flag is that of the number in the column, a float32, so that a reader finds the same.
        """
        value = float(np.float32(score)) if score is not None and isfinite(score) else None
        if self.flags is None:
            return {self.name: value}
        return {self.name: value, self.flags: None if value is None else self._flags(value)}

    def _flags(self, value: float) -> bool:
        if self.above is not None:
            return value > self.above
        assert self.below is not None
        return value < self.below

    def __str__(self) -> str:
        if self.flags is None:
            return f"{self.name} by {self.scorer}"
        bound = f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"
        return f"{self.name} by {self.scorer}, flagged {bound}"


ScoreColumns = Sequence[ScoreColumn]


def score_columns(oracle: OracleSettings) -> tuple[ScoreColumn, ...]:
    """The columns of an oracle's extra scores, in order."""
    found = []
    for extra in oracle.extras:
        bounds = (extra.above, extra.below) if isinstance(extra, FilterSettings) else (None, None)
        scorer = "stand-in" if oracle.timed else " ".join(filter(None, [extra.kind, extra.path]))
        found.append(ScoreColumn(extra.column, *bounds, scorer))
    return tuple(found)


def kinds_of(columns: ScoreColumns) -> dict[str, pa.DataType]:
    """Every column that they make, with its type."""
    return {name: kind for column in columns for name, kind in column.kinds.items()}


def values_of(
    columns: ScoreColumns, scores: Sequence[float] | None
) -> dict[str, float | bool | None]:
    """What the columns of a row hold. scores: one for each; None for a row without a picture."""
    given = [None] * len(columns) if scores is None else scores
    values: dict[str, float | bool | None] = {}
    for column, score in zip(columns, given, strict=True):
        values |= column.values(score)
    return values


def num_flagged(columns: ScoreColumns, row: Mapping[str, Any]) -> dict[str, int]:
    """By filter, whether a row is flagged, as a count."""
    return {one.name: int(bool(row[one.flags])) for one in columns if one.flags}


def broken_scores(columns: ScoreColumns, row: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a row's extra scores, as clauses: a flag follows from its score, and a row
    without a picture has neither."""
    for one in columns:
        score = row[one.name]
        if score is not None and (row["status"] == "failed" or not isfinite(score)):
            yield f"its {one.name} is {score:.6g}, and should be null"
        elif one.flags and row[one.flags] != (wanted := one.values(score)[one.flags]):
            yield f"its {one.flags} is {row[one.flags]}, and {one.name} {score} makes it {wanted}"


def describe_scores(
    columns: ScoreColumns, records: Sequence[Mapping[str, Any]], rows: int
) -> list[str]:
    """A line about each column, with the rows that it flagged by the records of all `rows`."""
    return [
        str(one)
        + (
            f": {sum(record.get(FLAGGED, {}).get(one.name, 0) for record in records):,} of "
            f"{rows:,} rows"
            if one.flags
            else ""
        )
        for one in columns
    ]
