"""One schema, held differently, is one schema; two schemas are refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import InputError
from jobs.input.schema import common_type
from tests.unit.jobs.local import local_job

SAME = [
    (pa.string(), pa.large_string(), pa.large_string()),
    (pa.string(), pa.string_view(), pa.string()),
    (pa.string_view(), pa.large_string(), pa.large_string()),
    (pa.binary(), pa.large_binary(), pa.large_binary()),
    (pa.binary_view(), pa.binary(), pa.binary()),
    (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
    (
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
        pa.large_string(),
    ),
    (pa.run_end_encoded(pa.int32(), pa.int64()), pa.int64(), pa.int64()),
    (pa.list_(pa.string()), pa.large_list(pa.string()), pa.large_list(pa.string())),
    (pa.list_(pa.int8(), 2), pa.list_(pa.int8()), pa.list_(pa.int8())),
    (pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 2)),
    (pa.list_view(pa.int8()), pa.list_(pa.int8()), pa.list_(pa.int8())),
    (
        pa.list_(pa.field("element", pa.int8())),
        pa.list_(pa.field("item", pa.int8())),
        pa.list_(pa.int8()),
    ),
    (
        pa.list_(pa.list_(pa.string())),
        pa.list_(pa.list_(pa.large_string())),
        pa.list_(pa.list_(pa.large_string())),
    ),
    (pa.decimal32(5, 2), pa.decimal128(5, 2), pa.decimal128(5, 2)),
    (pa.decimal256(5, 2), pa.decimal64(5, 2), pa.decimal256(5, 2)),
    (pa.null(), pa.timestamp("us"), pa.timestamp("us")),
    (pa.list_(pa.null()), pa.list_(pa.string()), pa.list_(pa.string())),
    (
        pa.struct({"a": pa.string()}),
        pa.struct({"a": pa.large_string()}),
        pa.struct({"a": pa.large_string()}),
    ),
    (
        pa.struct({"a": pa.int8(), "b": pa.bool_()}),
        pa.struct({"b": pa.bool_(), "a": pa.int8()}),
        pa.struct({"a": pa.int8(), "b": pa.bool_()}),
    ),
    (
        pa.map_(pa.string(), pa.null()),
        pa.map_(pa.large_string(), pa.int8()),
        pa.map_(pa.large_string(), pa.int8()),
    ),
]

OTHER = [
    (pa.int32(), pa.int64()),
    (pa.int64(), pa.uint64()),
    (pa.float32(), pa.float64()),
    (pa.timestamp("ms"), pa.timestamp("us")),
    (pa.timestamp("us"), pa.timestamp("us", "UTC")),
    (pa.date32(), pa.timestamp("us")),
    (pa.string(), pa.binary()),
    (pa.binary(16), pa.binary()),
    (pa.binary(16), pa.uuid()),
    (pa.decimal128(5, 2), pa.decimal128(5, 3)),
    (pa.decimal128(5, 2), pa.int64()),
    (pa.list_(pa.int8()), pa.list_(pa.int16())),
    (pa.struct({"a": pa.int8()}), pa.struct({"b": pa.int8()})),
    (pa.struct({"a": pa.int8()}), pa.struct({"a": pa.int8(), "b": pa.int8()})),
    (pa.map_(pa.string(), pa.int8()), pa.map_(pa.string(), pa.int16())),
    (pa.bool_(), pa.int8()),
]


@pytest.mark.parametrize(("one", "other", "both"), SAME, ids=str)
def test_what_parquet_writes_alike_is_one_type(one: Any, other: Any, both: Any) -> None:
    assert common_type(one, other) == both


@pytest.mark.parametrize(("one", "other", "both"), SAME, ids=str)
def test_the_second_file_may_be_the_first(one: Any, other: Any, both: Any) -> None:
    """But for the order of a struct's fields, which is that of the first."""
    swapped = common_type(other, one)
    assert swapped is not None
    assert common_type(swapped, both) is not None
    assert len(str(swapped)) == len(str(both))


@pytest.mark.parametrize(("one", "other"), OTHER, ids=str)
def test_what_parquet_writes_differently_is_two_types(one: Any, other: Any) -> None:
    assert common_type(one, other) is None
    assert common_type(other, one) is None


def rows_of(folder: Path, **fields: Any) -> list[dict[str, Any]]:
    prompts = local_job(folder, folder.parent / "out", **fields).prompts
    return [row for part in prompts.parts() for row in part.table.to_pylist()]


def test_files_of_one_schema_are_read_with_their_values(tmp_path: Path) -> None:
    one = {
        "prompt": pa.array(["a"]),
        "tags": pa.array([["x"]]),
        "price": pa.array([Decimal("1.50")]),
    }
    two = {
        "price": pa.array([Decimal("2.25")], pa.decimal256(3, 2)),
        "tags": pa.array([["y"], None], pa.large_list(pa.large_string()))[:1],
        "prompt": pa.array(["b"]).dictionary_encode(),
    }
    for name, columns in (("1", one), ("2", two)):
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    assert rows_of(tmp_path) == [
        {"prompt": "a", "tags": ["x"], "price": Decimal("1.50")},
        {"prompt": "b", "tags": ["y"], "price": Decimal("2.25")},
    ]


def test_two_schemas_are_refused_with_the_column(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"prompt": ["a"], "n": pa.array([1], pa.int32())}), tmp_path / "1.parquet"
    )
    pq.write_table(pa.table({"prompt": ["a"], "n": [1]}), tmp_path / "2.parquet")
    with pytest.raises(InputError, match=r"2.parquet has other columns .*'n' is int64, not int32"):
        rows_of(tmp_path)
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "2.parquet")
    with pytest.raises(InputError, match=r"'n' \(int32\) is in one of them only"):
        rows_of(tmp_path)


VALUES = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, -(2**63), 2**53 + 1]),
    st.floats(-2, 2, width=16),
)
LINES = st.lists(
    st.fixed_dictionaries(
        {"prompt": st.just("a")},
        optional={
            "n": VALUES,
            "list": st.lists(VALUES, max_size=2),
            "o": st.fixed_dictionaries({}, optional={"k": VALUES, "t": st.text("ab")}),
        },
    ),
    min_size=1,
    max_size=5,
)


@given(lines=LINES, cut=st.integers(0, 5))
def test_lines_in_two_files_are_read_as_in_one(
    lines: list[dict[str, Any]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same values, or refused both times."""

    folder = tmp_path_factory.mktemp("lines")
    read: list[Any] = []
    for name, files in (("one", [lines]), ("two", [lines[:cut], lines[cut:]])):
        (folder / name).mkdir()
        for number, some in enumerate(files):
            text = "".join(json.dumps(line) + "\n" for line in some)
            (folder / name / f"{number}.jsonl").write_text(text)
        try:
            read.append(rows_of(folder / name, rows_per_part=2))
        except InputError:
            read.append(None)
    assert read[0] == read[1]
    if read[0]:
        assert [row.get("n") for row in read[0]] == [line.get("n") for line in lines]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("-1", str(2**63)), "has -1 and 9223372036854775808, and no type of 64 bits holds both"),
        ((str(2**64),), "has 18446744073709551616, which has more than 64 bits"),
        ((str(-(2**63) - 1),), "has -9223372036854775809, which has more than 64 bits"),
        ((str(2**53 + 1), "1.5"), "has 9007199254740993 and a number with a fraction"),
        ((f"[{2**63}]",), "an integer inside of a list or an object has more than 63 bits"),
    ],
)
@pytest.mark.parametrize("num_files", [1, 2])
def test_integers_that_no_type_holds_are_refused_in_a_sentence(
    tmp_path: Path, values: tuple[str, ...], said: str, num_files: int
) -> None:
    for number, value in enumerate(values):
        with (tmp_path / f"{number % num_files}.jsonl").open("a") as file:
            file.write(f'{{"prompt": "a", "n": {value}}}\n')
    with pytest.raises(InputError, match=said):
        rows_of(tmp_path)


def test_an_unsigned_integer_may_be_an_id(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"id": 1, "prompt": "a"}\n{"id": 18446744073709551615, "prompt": "b"}\n'
    )
    assert [row["id"] for row in rows_of(tmp_path, id_column="id")] == [1, 2**64 - 1]


def test_an_empty_file_among_others_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\n')
    (tmp_path / "b.jsonl").write_text("")
    assert rows_of(tmp_path) == [{"prompt": "a"}]
