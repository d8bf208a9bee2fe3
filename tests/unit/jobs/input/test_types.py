"""What comes in comes out, with the value and the type it had: every type, through a whole part."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from jobs.output.verify import verify
from tests.unit.jobs.local import local_job, run

WHEN = datetime(9999, 12, 31, 23, 59, 59, 999_999)
UUIDS = [UUID(int=n) for n in (1, 2**128 - 1)]

PLAIN: dict[str, pa.Array] = {
    "null": pa.nulls(2),
    "bool": pa.array([True, None]),
    **{
        str(kind): pa.array([low, high], kind)
        for kind, low, high in [
            (pa.int8(), -(2**7), 2**7 - 1),
            (pa.int16(), -(2**15), 2**15 - 1),
            (pa.int32(), -(2**31), 2**31 - 1),
            (pa.int64(), -(2**63), 2**63 - 1),
            (pa.uint8(), 0, 2**8 - 1),
            (pa.uint16(), 0, 2**16 - 1),
            (pa.uint32(), 0, 2**32 - 1),
            (pa.uint64(), 0, 2**64 - 1),
        ]
    },
    "float16": pa.array([np.float16(65504), None]),
    "float32": pa.array([1e-45, 3.4e38], pa.float32()),
    "float64": pa.array([5e-324, float("-inf")]),
    "string": pa.array(["ä\n", ""]),
    "large_string": pa.array(["ä", None], pa.large_string()),
    "binary": pa.array([b"\xff\0", b""]),
    "large_binary": pa.array([b"\xff", None], pa.large_binary()),
    "binary(3)": pa.array([b"abc", None], pa.binary(3)),
    "date32": pa.array([date(1, 1, 1), date(9999, 12, 31)]),
    "time32[ms]": pa.array([time(23, 59, 59, 999_000), None], pa.time32("ms")),
    "time64[us]": pa.array([time(23, 59, 59, 999_999), None], pa.time64("us")),
    "time64[ns]": pa.array([86_399_999_999_999, 0], pa.int64()).cast(pa.time64("ns")),
    "timestamp[ms]": pa.array([datetime(9999, 12, 31), datetime(1, 1, 1)], pa.timestamp("ms")),
    "timestamp[us]": pa.array([WHEN, datetime(1, 1, 1)], pa.timestamp("us")),
    "timestamp[ns]": pa.array([1, 2**63 - 1], pa.int64()).cast(pa.timestamp("ns")),
    "timestamp[us, UTC]": pa.array([WHEN, None], pa.timestamp("us", "UTC")),
    "timestamp[ns, tz]": pa.array([1, None], pa.int64()).cast(pa.timestamp("ns", "Europe/Zurich")),
    "duration[us]": pa.array([timedelta(days=9999, microseconds=1), None], pa.duration("us")),
    "decimal32": pa.array([Decimal("-1.50"), None], pa.decimal32(5, 2)),
    "decimal64": pa.array([Decimal("1.50"), None], pa.decimal64(18, 2)),
    "decimal128": pa.array([Decimal("1.50"), None], pa.decimal128(38, 2)),
    "decimal256": pa.array([Decimal("1.50"), None], pa.decimal256(76, 2)),
    "uuid": pa.array([one.bytes for one in UUIDS], pa.uuid()),
    "json": pa.array(['{"a": 1}', None], pa.json_()),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((2, 2, 2), "f4")),
}  # fmt: skip


def _nested() -> dict[str, pa.Array]:
    """Each plain type in a list, a struct, a map and a list of fixed size."""
    found: dict[str, pa.Array] = {}
    for name, values in PLAIN.items():
        found[f"list of {name}"] = pa.ListArray.from_arrays([0, 2, 2], values)
        found[f"large list of {name}"] = pa.LargeListArray.from_arrays([0, 1, 2], values)
        found[f"struct of {name}"] = pa.StructArray.from_arrays([values], ["a"])
        found[f"map of {name}"] = pa.MapArray.from_arrays([0, 1, 2], pa.array(["k", "l"]), values)
        found[f"fixed list of {name}"] = pa.FixedSizeListArray.from_arrays(values, 1)
    return found


NESTED = _nested()

DECODED: dict[str, tuple[pa.Array, pa.DataType]] = {
    "string_view": (pa.array(["ä", None], pa.string_view()), pa.string()),
    "binary_view": (pa.array([b"\xff", None], pa.binary_view()), pa.binary()),
    "list_view": (pa.array([[1], None], pa.list_view(pa.int8())), pa.list_(pa.int8())),
    "dictionary": (pa.array(["a", "b"]).dictionary_encode(), pa.string()),
    "struct of a dictionary": (
        pa.StructArray.from_arrays([pa.array(["a", "b"]).dictionary_encode()], ["a"]),
        pa.struct({"a": pa.string()}),
    ),
    "list of a view": (
        pa.ListArray.from_arrays([0, 1, 2], pa.array(["a", "b"], pa.string_view())),
        pa.list_(pa.string()),
    ),
}
"""How a column is held in memory is no part of its type."""


TIMES: dict[str, tuple[pa.Array, pa.DataType]] = {
    "date64": (
        pa.array([date(1, 1, 1), date(9999, 12, 31)], pa.date64()),
        pa.date32(),
    ),
    "timestamp[s]": (
        pa.array([datetime(9999, 12, 31, 23, 59, 59), None], pa.timestamp("s")),
        pa.timestamp("ms"),
    ),
    "timestamp[s, UTC]": (
        pa.array([datetime(1, 1, 1), None], pa.timestamp("s", "UTC")),
        pa.timestamp("ms", "UTC"),
    ),
    "time32[s]": (pa.array([time(23, 59, 59), None], pa.time32("s")), pa.time32("ms")),
    "struct of a time32[s]": (
        pa.array([{"a": time(23, 59, 59)}, None], pa.struct({"a": pa.time32("s")})),
        pa.struct({"a": pa.time32("ms")}),
    ),
}
"""Units that Parquet does not have: it calls them otherwise, and so does a job."""

FORMATS = ("parquet", "arrow")


def carried(
    folder: Path, column: pa.Array, *, held_in: str = "parquet", **fields: Any
) -> tuple[pa.Table, Path]:
    """The column's table as it comes out of a job that reads this format, and the part."""
    file = folder / f"p.{held_in}"
    table = pa.table({"prompt": ["a", "b"], "x": column})
    if held_in == "parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    job = local_job(file, folder / "out", **fields)
    run(job)
    assert list(verify(job.output)) == []
    (part,) = (folder / "out/data").rglob("*.parquet")
    return pq.ParquetFile(part, arrow_extensions_enabled=True).read(), part


def same(one: pa.ChunkedArray, other: pa.Array) -> bool:
    """Whether they have one type and the same values, NaN included."""
    whole = one.combine_chunks()
    return bool(whole.type.equals(other.type)) and _bits(whole) == _bits(other)


def _bits(values: pa.Array) -> Any:
    storage = values.storage if isinstance(values, pa.ExtensionArray) else values
    return repr(storage.to_pylist())


@pytest.mark.parametrize("name", [*PLAIN, *NESTED])
def test_a_column_of_any_type_is_carried(tmp_path: Path, name: str) -> None:
    column = {**PLAIN, **NESTED}[name]
    read = pq.ParquetFile(_written(tmp_path, column), arrow_extensions_enabled=True).read()["x"]
    assert same(read, column), "the file of this test does not hold what it should"
    table, _ = carried(tmp_path, column)
    assert same(table["x"], column)


def _written(folder: Path, column: pa.Array) -> Path:
    pq.write_table(pa.table({"x": column}), folder / "own.parquet")
    return folder / "own.parquet"


def test_columns_of_any_type_are_carried_from_an_arrow_file(tmp_path: Path) -> None:
    """In one job, which takes a hundredth of the time of as many jobs."""
    columns = {**PLAIN, **NESTED}
    names = {f"c{place}": name for place, name in enumerate(columns)}
    fields = [pa.field(short, columns[name].type) for short, name in names.items()]
    whole = pa.StructArray.from_arrays(list(columns.values()), fields=fields)
    table, _ = carried(tmp_path, whole, held_in="arrow")
    found = table["x"].combine_chunks()
    wrong = [
        name
        for place, name in enumerate(columns)
        if not same(pa.chunked_array([found.field(place)]), columns[name])
    ]
    assert wrong == []


@pytest.mark.parametrize("held_in", FORMATS)
@pytest.mark.parametrize("name", DECODED)
def test_how_a_column_is_held_is_no_part_of_its_type(
    tmp_path: Path, name: str, held_in: str
) -> None:
    column, kind = DECODED[name]
    table, _ = carried(tmp_path, column, held_in=held_in)
    assert table["x"].type == kind
    assert table["x"].to_pylist() == column.to_pylist()


@pytest.mark.parametrize("held_in", FORMATS)
@pytest.mark.parametrize("name", TIMES)
def test_a_time_keeps_its_value_in_a_unit_that_parquet_has(
    tmp_path: Path, name: str, held_in: str
) -> None:
    column, kind = TIMES[name]
    table, _ = carried(tmp_path, column, held_in=held_in)
    assert table["x"].type == kind
    assert table["x"].to_pylist() == column.to_pylist()


NO_DATASETS = ("uuid", "tensor", "bool8", "map", "decimal32", "decimal64", "time64[ns]")
"""Types of which Hugging Face `datasets` reads no file, not the user's own either."""


@pytest.mark.parametrize("name", [n for n in PLAIN if not n.startswith(NO_DATASETS)])
def test_datasets_reads_what_is_carried(tmp_path: Path, name: str) -> None:
    _, part = carried(tmp_path, PLAIN[name])
    rows = load_dataset("parquet", data_files=str(part), cache_dir=str(tmp_path))["train"]
    own = _written(tmp_path, PLAIN[name])
    theirs = load_dataset("parquet", data_files=str(own), cache_dir=str(tmp_path))["train"]
    assert repr(rows["x"][:]) == repr(theirs["x"][:])
    assert rows[0]["image"].size == (8, 8)


def test_a_timestamp_of_96_bits_keeps_its_year(tmp_path: Path) -> None:
    """9999-12-31 became 1816-03-29."""
    table = pa.table(
        {"prompt": ["a", "b"], "x": pa.array([WHEN, datetime(2020, 1, 1)], pa.timestamp("us"))}
    )
    file = tmp_path / "p.parquet"
    pq.write_table(table, file, use_deprecated_int96_timestamps=True, store_schema=False)
    job = local_job(file, tmp_path / "out")
    run(job)
    (part,) = (tmp_path / "out/data").rglob("*.parquet")
    assert pq.read_table(part)["x"].to_pylist() == [WHEN, datetime(2020, 1, 1)]


@pytest.mark.parametrize("column", [PLAIN["uuid"], PLAIN["uint64"], DECODED["string_view"][0]])
def test_a_column_of_ids_may_have_any_type_of_text_or_integers(
    tmp_path: Path, column: pa.Array
) -> None:
    table, _ = carried(tmp_path, column, id_column="x")
    assert table["seed"][0] != table["seed"][1]


def test_metadata_of_the_file_and_of_its_fields_is_kept(tmp_path: Path) -> None:
    field = pa.field("prompt", pa.string(), metadata={"note": "mine"})
    schema = pa.schema([field], metadata={"mine": "kept?"})
    pq.write_table(pa.table({"prompt": ["a", "b"]}, schema=schema), tmp_path / "p.parquet")
    run(local_job(tmp_path / "p.parquet", tmp_path / "out"))
    (part,) = (tmp_path / "out/data").rglob("*.parquet")
    written = pq.read_schema(part)
    assert written.metadata[b"mine"] == b"kept?"
    assert written.field("prompt").metadata[b"note"] == b"mine"


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("interval", pa.array([pa.MonthDayNano([1, 2, 3])])),
        ("sparse_union", pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])),
    ],
)
def test_a_type_that_parquet_does_not_have_cannot_come_in(
    tmp_path: Path, name: str, column: pa.Array
) -> None:
    with pytest.raises(pa.ArrowNotImplementedError):
        _written(tmp_path, column)
