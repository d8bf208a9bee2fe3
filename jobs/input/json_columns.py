"""The columns of JSON Lines: a type for each that fits every value seen so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from jobs.input.column_names import MAX_COLUMNS, too_wide

MAX_SIGNED, MAX_UNSIGNED = 2**63 - 1, 2**64 - 1
MAX_EXACT = 2**53
"""Above it a float of 64 bits does not hold every integer."""
MAX_NESTING = 100
"""Of lists and objects in a column: pyarrow reads no Parquet with more levels than that, of which a
list takes two. It also keeps the recursion of this module far below Python's limit."""

Place = tuple[str | None, ...]
"""Where a value lies: its column, then names of fields; None stands for the values of a list."""


@dataclass(frozen=True)
class JsonColumns:
    """schema: a column for each name. least, most: of the integers at each place that has some.

    Integers have 64 bits and a sign; a column with one above 2^63 - 1 is unsigned, if none of its
    integers is negative. Integers and floats at one place are floats, if these hold the integers.
    """

    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    least: Mapping[Place, int] = field(default_factory=dict)
    most: Mapping[Place, int] = field(default_factory=dict)

    @staticmethod
    def of(rows: list[dict[str, Any]]) -> JsonColumns:
        """Those of some lines. Raises ArrowInvalid where two lines do not fit."""
        names = dict.fromkeys(name for row in rows for name in row)
        if len(names) > MAX_COLUMNS:
            raise pa.ArrowInvalid(too_wide(len(names)))
        numbers = _Numbers()
        for row in rows:
            numbers.add_object((), row)
        numbers.check()
        least, most = numbers.least, numbers.most
        large = {n for n in names if most.get((n,), 0) > MAX_SIGNED}
        large |= {n for n in names if least.get((n,), 0) < -MAX_SIGNED - 1}
        kinds = {one.name: one.type for one in _inferred([_small(row, large) for row in rows])}
        return JsonColumns(
            pa.schema([pa.field(name, kinds.get(name, pa.null())) for name in names]), least, most
        )._checked()

    def with_those_of(self, other: JsonColumns) -> JsonColumns:
        """The columns of both. Raises ArrowInvalid where a column has no type for both."""
        both = _common((), pa.struct(list(self.schema)), pa.struct(list(other.schema)))
        return JsonColumns(
            pa.schema(list(both)),
            _merged(min, self.least, other.least),
            _merged(max, self.most, other.most),
        )._checked()

    def _checked(self) -> JsonColumns:
        """With unsigned columns where they have to be; refuses integers that no type holds."""
        if len(self.schema) > MAX_COLUMNS:
            raise pa.ArrowInvalid(too_wide(len(self.schema)))
        kinds: dict[str | None, pa.DataType] = {one.name: one.type for one in self.schema}
        for place, least in self.least.items():
            inner = kinds[place[0]]
            for name in place[1:]:
                inner = inner.value_type if name is None else inner.field(name).type
            holding = _holding(place, inner, least, self.most[place])
            if len(place) == 1:
                kinds[place[0]] = holding
        return JsonColumns(pa.schema(list(kinds.items())), self.least, self.most)


class _Numbers:
    """The numbers and booleans of some lines, by their places.

    pyarrow infers a number from `true` after `1.5`, and in lists it rounds.
    """

    def __init__(self) -> None:
        self.least: dict[Place, int] = {}
        self.most: dict[Place, int] = {}
        self._kinds: dict[Place, set[type]] = {}

    def add_object(self, place: Place, fields: dict[str, Any]) -> None:
        """The values of an object's fields."""
        for name, value in fields.items():
            if value is not None and type(value) is not str:
                self._add((*place, name), [value])

    def _add(self, place: Place, values: list[Any]) -> None:
        """Values of one place. A list of numbers, which may be long, is gone through in C."""
        if len(place) > MAX_NESTING:
            raise pa.ArrowInvalid(
                f"column {place[0]!r} nests lists and objects more than {MAX_NESTING} deep, and "
                "Parquet's readers do not. Write the inner ones as text"
            )
        kinds = set(map(type, values))
        if scalars := kinds & _SCALARS:
            self._kinds.setdefault(place, set()).update(scalars)
        if int in kinds:
            integers = [value for value in values if type(value) is int]
            least, most = min(integers), max(integers)
            self.least[place] = min(least, self.least.get(place, least))
            self.most[place] = max(most, self.most.get(place, most))
        if kinds & {dict, list}:
            for value in values:
                if type(value) is dict:
                    self.add_object(place, value)
                elif type(value) is list:
                    self._add((*place, None), value)

    def check(self) -> None:
        """Raises ArrowInvalid for a place with numbers and booleans, or numbers of no one type."""
        for place, kinds in self._kinds.items():
            if bool in kinds and len(kinds) > 1:
                raise pa.ArrowInvalid(f"{_named(place)} has numbers and true or false")
            if kinds == {int, float}:
                _holding(place, pa.float64(), self.least[place], self.most[place])


_SCALARS = {bool, int, float}


def _named(place: Place) -> str:
    """`column 'x'`, and where in it: `column 'x' (at x[].a)`."""
    if len(place) == 1:
        return f"column {place[0]!r}"
    steps = "".join("[]" if name is None else f".{name}" for name in place[1:])
    return f"column {place[0]!r} (at {place[0]}{steps})"


def _merged(
    choose: Callable[[int, int], int], one: Mapping[Place, int], other: Mapping[Place, int]
) -> dict[Place, int]:
    both = {place: choose(one[place], other[place]) for place in one.keys() & other.keys()}
    return {**one, **other, **both}


def _common(place: Place, one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type of the values of both. Raises ArrowInvalid if there is none.

    By rules that hold within a line, too: a number is no boolean. Unsigned integers are found by
    their greatest (`_holding`).
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        mine, theirs = ({f.name: f.type for f in kind.fields} for kind in (one, other))
        null = pa.null()
        return pa.struct(
            [
                (name, _common((*place, name), mine.get(name, null), theirs.get(name, null)))
                for name in {**mine, **theirs}
            ]
        )
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_common((*place, None), one.value_type, other.value_type))
    if _is_number(one) and _is_number(other):
        is_floating = pa.types.is_floating(one) or pa.types.is_floating(other)
        return pa.float64() if is_floating else pa.int64()
    raise pa.ArrowInvalid(f"{_named(place)} holds {other}, and {one} before")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _holding(place: Place, kind: pa.DataType, least: int, most: int) -> pa.DataType:
    """The type of a place with such integers, of which `kind` is known from the other values."""
    if pa.types.is_floating(kind):
        if max(-least, most) > MAX_EXACT:
            wide = most if most > MAX_EXACT else least
            raise pa.ArrowInvalid(
                f"{_named(place)} has {wide} and a number with a fraction, and no type holds both "
                "exactly. Write one of them as text"
            )
        return kind
    if not pa.types.is_integer(kind) and not pa.types.is_null(kind):
        return kind  # refused already, where another type met the integers
    if most > MAX_UNSIGNED or least < -MAX_SIGNED - 1:
        wide = most if most > MAX_UNSIGNED else least
        raise pa.ArrowInvalid(f"{_named(place)} has {wide}, which has more than 64 bits")
    if most <= MAX_SIGNED:
        return pa.int64()
    if least < 0:
        raise pa.ArrowInvalid(
            f"{_named(place)} has {least} and {most}, and no type of 64 bits holds both. Write "
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
