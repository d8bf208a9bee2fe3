"""The columns of JSON Lines: a type for each that fits every value seen so far."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from jobs.input.column_names import MAX_COLUMNS, too_wide

MAX_SIGNED, MAX_UNSIGNED = 2**63 - 1, 2**64 - 1
MAX_EXACT = 2**53
"""Above it a float of 64 bits does not hold every integer."""


@dataclass(frozen=True)
class JsonColumns:
    """schema: a column for each name. least, most: of the integers of a column that has some.

    Integers have 64 bits and a sign; a column with one above 2^63 - 1 is unsigned, if none of its
    integers is negative. One with integers and floats has floats, if they hold its integers.
    """

    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    least: Mapping[str, int] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(rows: list[dict[str, Any]]) -> JsonColumns:
        """Those of some lines. Raises ArrowInvalid where two lines do not fit."""
        names = dict.fromkeys(name for row in rows for name in row)
        if len(names) > MAX_COLUMNS:
            raise pa.ArrowInvalid(too_wide(len(names)))
        least, most = dict[str, int](), dict[str, int]()
        for row in rows:
            for name, value in row.items():
                if type(value) is int:
                    least[name] = min(value, least.get(name, value))
                    most[name] = max(value, most.get(name, value))
        large = {n for n in most if most[n] > MAX_SIGNED or least[n] < -MAX_SIGNED - 1}
        kinds = {one.name: one.type for one in _inferred([_small(row, large) for row in rows])}
        return JsonColumns(
            pa.schema([pa.field(name, kinds.get(name, pa.null())) for name in names]), least, most
        )._checked()

    def with_those_of(self, other: JsonColumns) -> JsonColumns:
        """The columns of both. Raises ArrowInvalid where a column has no type for both."""
        return JsonColumns(
            pa.unify_schemas([self.schema, other.schema], promote_options="permissive"),
            {
                name: min(one[name] for one in (self.least, other.least) if name in one)
                for name in {**self.least, **other.least}
            },
            {
                name: max(one[name] for one in (self.most, other.most) if name in one)
                for name in {**self.most, **other.most}
            },
        )._checked()

    def _checked(self) -> JsonColumns:
        """With unsigned columns where they have to be; refuses integers that no type holds."""
        if len(self.schema) > MAX_COLUMNS:
            raise pa.ArrowInvalid(too_wide(len(self.schema)))
        fields = []
        for one in self.schema:
            least, most = self.least.get(one.name), self.most.get(one.name)
            if least is not None and most is not None:
                one = one.with_type(_holding(one.name, one.type, least, most))
            fields.append(one)
        return JsonColumns(pa.schema(fields), self.least, self.most)


def _holding(name: str, kind: pa.DataType, least: int, most: int) -> pa.DataType:
    """The type of a column with such integers, of which `kind` is known from the other values."""
    if pa.types.is_floating(kind):
        if max(-least, most) > MAX_EXACT:
            wide = most if most > MAX_EXACT else least
            raise pa.ArrowInvalid(
                f"column {name!r} has {wide} and a number with a fraction, and no type holds both "
                "exactly. Write one of them as text"
            )
        return kind
    if not pa.types.is_integer(kind) and not pa.types.is_null(kind):
        return kind  # refused already, where another type met the integers
    if most > MAX_UNSIGNED or least < -MAX_SIGNED - 1:
        wide = most if most > MAX_UNSIGNED else least
        raise pa.ArrowInvalid(f"column {name!r} has {wide}, which has more than 64 bits")
    if most <= MAX_SIGNED:
        return pa.int64()
    if least < 0:
        raise pa.ArrowInvalid(
            f"column {name!r} has {least} and {most}, and no type of 64 bits holds both. Write "
            "them as text"
        )
    return pa.uint64()


def _small(row: dict[str, Any], large: Set[str]) -> dict[str, Any]:
    """The row with a small integer in place of each in a column that has large ones."""
    if not large:
        return row
    return {
        name: 0 if name in large and type(value) is int else value for name, value in row.items()
    }


def _inferred(rows: list[dict[str, Any]]) -> pa.Schema:
    try:
        kind = pa.array(rows).type
    except UnicodeEncodeError:
        kind = pa.array([_without_surrogates(row) for row in rows]).type
    except OverflowError as error:
        raise pa.ArrowInvalid(
            "an integer inside of a list or an object has more than 63 bits. Write it as text"
        ) from error
    return pa.schema(list(kind))


def _without_surrogates(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `?` for unpaired surrogates, which Arrow cannot store, to infer its types.

    Such a row fails alone when it is read.
    """
    return {
        name: value.encode(errors="replace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }
