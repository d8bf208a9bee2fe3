"""A column is cast at every depth; a time keeps its value in Parquet's unit, or is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.input.casting import cast_column, cast_to
from jobs.input.schema import plain_type
from tests.unit.jobs.reading import refusal

TEXTS = pa.array(["a", None, "ccc", "a", "b", "c"])
VIEWS = TEXTS.cast(pa.string_view())
LISTS = pa.array([["a"], None, [], ["b", None], ["c"], ["d"]], pa.list_view(pa.string_view()))
STRUCTS = pa.array([{"a": 1}, None, {"a": None}, {"a": 2}, {"a": 1}, {"a": 3}])

HELD: dict[str, pa.Array] = {
    "view": VIEWS,
    "list_view": LISTS,
    "large_list_view": pa.array(LISTS.to_pylist(), pa.large_list_view(pa.string())),
    "unordered list_view": pa.ListViewArray.from_arrays(
        pa.array([4, 0, 0, 2, 1, 5], pa.int32()), pa.array([2, 3, 0, 1, 4, 1], pa.int32()), TEXTS
    ),
    "runs": pa.RunEndEncodedArray.from_arrays([1, 3, 4, 6], VIEWS.slice(0, 4)),
    "runs of structs": pa.RunEndEncodedArray.from_arrays([1, 3, 4, 6], STRUCTS.slice(0, 4)),
    "runs of list_views": pa.RunEndEncodedArray.from_arrays([1, 3, 4, 6], LISTS.slice(1, 4)),
    "dictionary": VIEWS.cast(pa.string()).dictionary_encode(),
    "dictionary of structs": pa.DictionaryArray.from_arrays([5, None, 0, 1, 1, 2], STRUCTS),
    "dictionary of list_views": pa.DictionaryArray.from_arrays([5, None, 0, 1, 1, 2], LISTS),
    "dictionary of dictionaries": pa.DictionaryArray.from_arrays(
        [5, None, 0, 1, 1, 2], TEXTS.dictionary_encode()
    ),
    "timestamp[s]": pa.array([1, None, -5, 2, 3, 4], pa.timestamp("s")),
    "timestamp[s, tz]": pa.array([1, None, -5, 2, 3, 4], pa.timestamp("s", "Europe/Zurich")),
    "time32[s]": pa.array([1, None, 86_399, 2, 3, 4], pa.time32("s")),
    "date64": pa.array([date(1, 1, 1), None, date(9999, 12, 31), *[date(2020, 1, 1)] * 3],
                       pa.date64()),
}  # fmt: skip
"""How six rows are held."""


def _within(column: pa.Array) -> dict[str, pa.Array]:
    """The column, and in each kind of nest, whose rows are as many."""
    nulls = pa.array([False, True, False, False, False, False])
    places = pa.array([0, 1, 3, 3, 4, 5, 6], pa.int32())
    wide = places.cast(pa.int64())
    sizes = pa.array([1, 2, 0, 1, 1, 1], pa.int32())
    keys = pa.array(list("uvwxyz"))
    return {
        "itself": column,
        "struct": pa.StructArray.from_arrays([column], ["x"], mask=nulls),
        "list": pa.ListArray.from_arrays(places, column, mask=nulls),
        "large_list": pa.LargeListArray.from_arrays(wide, column, mask=nulls),
        "list_view": pa.ListViewArray.from_arrays(places[:6], sizes, column, mask=nulls),
        "large_list_view": pa.LargeListViewArray.from_arrays(
            wide[:6], sizes.cast(pa.int64()), column, mask=nulls
        ),
        "fixed list": pa.FixedSizeListArray.from_arrays(column, 1, mask=nulls),
        "map": pa.MapArray.from_arrays(places, keys, column, mask=nulls),
        "struct in a list": pa.ListArray.from_arrays(
            places, pa.StructArray.from_arrays([column, keys], ["x", "k"])
        ),
        "list in a struct": pa.StructArray.from_arrays(
            [pa.ListArray.from_arrays(places, column), keys], ["x", "k"]
        ),
    }


CASES = {
    f"{name} in {nest}": whole
    for name, held in HELD.items()
    for nest, whole in _within(held).items()
}


@pytest.mark.parametrize("name", CASES)
def test_a_column_is_cast_at_every_depth(name: str) -> None:
    column = CASES[name]
    kind = plain_type(column.type)
    for cut in (column, column.slice(1), column.slice(2, 3), column.slice(6)):
        found = cast_to(cut, kind)
        found.validate(full=True)
        assert found.type == kind
        assert found.to_pylist() == cut.to_pylist()


DAY = 86_400_000

BEYOND: dict[str, tuple[pa.Array, str]] = {
    "timestamp[s] that overflows": (
        pa.array([1, 2**62], pa.int64()).view(pa.timestamp("s")),
        "4611686018427387904",
    ),
    "timestamp[s, UTC] that overflows": (
        pa.array([-(2**63) + 1, None], pa.int64()).view(pa.timestamp("s", "UTC")),
        "-9223372036854775807",
    ),
    "time32[s] that overflows": (
        pa.array([None, 2**31 - 1], pa.int32()).view(pa.time32("s")),
        "2147483647",
    ),
    "date64 with a time of day": (
        pa.array([DAY, DAY + 1], pa.int64()).view(pa.date64()),
        "86400001",
    ),
    "date64 beyond 32 bits of days": (
        pa.array([2**33 * DAY, None], pa.int64()).view(pa.date64()),
        str(2**33 * DAY),
    ),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_time_that_parquet_cannot_hold_is_refused_with_its_value(name: str) -> None:
    column, value = BEYOND[name]
    kind = plain_type(column.type)
    for held in (column, column.dictionary_encode()):
        said = re.escape(f"a value of {value}, which {kind} does not hold")
        with pytest.raises(pa.ArrowInvalid, match=said):
            cast_to(held, kind)
    nested = pa.StructArray.from_arrays([column], ["a"])
    with pytest.raises(pa.ArrowInvalid, match=value):
        cast_to(nested, plain_type(nested.type))


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("nest", ["itself", "struct", "dictionary"])
def test_such_a_file_is_refused_before_the_job_starts(tmp_path: Path, name: str, nest: str) -> None:
    """A timestamp of 2^62 s ended the process that wrote the part: a check of C++ failed."""
    column = BEYOND[name][0]
    if nest == "struct":
        column = pa.StructArray.from_arrays([column], ["a"])
    elif nest == "dictionary":
        column = column.dictionary_encode()
    table = pa.table({"prompt": ["a", "b"], "when": column})
    file = tmp_path / "p.arrow"
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    said = refusal(file)
    assert "p.arrow" in said
    assert "when" in said or "whole number of days" in said or "acceptable range" in said


def test_times_at_their_ends_are_kept() -> None:
    whole = pa.array([2**63 // 1000 - 1, -(2**63) // 1000 + 1], pa.int64())
    assert cast_to(whole.view(pa.timestamp("s")), pa.timestamp("ms")).cast(
        pa.int64()
    ).to_pylist() == [1000 * n for n in whole.to_pylist()]
    assert (
        datetime(1970, 1, 1).date()
        == cast_to(pa.array([0], pa.int64()).view(pa.date64()), pa.date32())[0].as_py()
    )
    assert cast_to(pa.array([time(23, 59, 59)], pa.time32("s")), pa.time32("ms"))[
        0
    ].as_py() == time(23, 59, 59)


def decimal_of(kind: pa.DataType, number: int) -> pa.Array:
    """One value, also one that the type's digits do not hold, as a broken file may have it."""
    content = number.to_bytes(kind.bit_width // 8, "little", signed=True)
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(content)])


NESTS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "itself": lambda column: column,
    "struct": lambda column: pa.StructArray.from_arrays([column], ["a"]),
    "list": lambda column: pa.ListArray.from_arrays([0, 1], column),
    "map": lambda column: pa.MapArray.from_arrays([0, 1], pa.array(["k"]), column),
    "dictionary": lambda column: pa.DictionaryArray.from_arrays(pa.array([0]), column),
}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (pa.decimal128(5, 0), -(2**127)),
        (pa.decimal128(38, 0), -(2**127)),
        (pa.decimal128(5, 2), 100_000),
        (pa.decimal256(76, 4), -(2**255)),
        (pa.decimal32(5, 1), -(2**31)),
        (pa.decimal64(12, 2), 10**12),
    ],
)
def test_a_decimal_of_more_digits_than_its_type_has_is_refused(
    tmp_path: Path, nest: str, kind: pa.DataType, number: int
) -> None:
    """Parquet keeps as many bits as the digits need: it would come back as another number."""
    column = NESTS[nest](decimal_of(kind, number))
    batch = pa.record_batch({"prompt": pa.array(["a"] * len(column)), "x": column})
    with (
        pa.OSFile(str(tmp_path / "p.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, batch.schema) as f,
    ):
        f.write_batch(batch)
    said = refusal(tmp_path)
    assert "precision" in said or "digits" in said
    assert "p.arrow" in said


def test_the_largest_decimals_are_kept() -> None:
    for kind in (
        pa.decimal32(9, 2),
        pa.decimal64(18, 2),
        pa.decimal128(38, 2),
        pa.decimal256(76, 2),
    ):
        for number in (10**kind.precision - 1, 1 - 10**kind.precision):
            column = decimal_of(kind, number)
            assert cast_column(column, pa.field("x", kind), "f").equals(column)
