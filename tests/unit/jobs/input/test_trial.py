"""A type that cannot be written and read back is refused before the start; the others are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.input.trial import small
from tests.unit.jobs.input.test_casting import CASES
from tests.unit.jobs.reading import only_part, read, refusal


def stored(folder: Path, kinds: dict[str, pa.DataType]) -> Path:
    """An Arrow file with columns of these types and without rows."""
    with pa.ipc.new_file(folder / "p.arrow", pa.schema({"prompt": pa.string(), **kinds})):
        pass
    return folder / "p.arrow"


REFUSED: dict[str, tuple[pa.DataType, str]] = {
    "bytes of no length": (pa.binary(0), "Invalid FIXED_LEN_BYTE_ARRAY length: 0"),
    "lists of no length": (pa.list_(pa.int8(), 0), "its lists have no length"),
    "a decimal of negative scale": (pa.decimal128(5, -2), "Scale must be a non-negative integer"),
    "an interval": (pa.month_day_nano_interval(), "Unhandled type"),
    "a struct without fields": (pa.struct([]), "Cannot write struct type"),
    "a union": (pa.sparse_union([pa.field("a", pa.int8())]), "Unhandled type"),
    "a tensor without numbers": (
        pa.fixed_shape_tensor(pa.float32(), [2, 0]),
        "its lists have no length",
    ),
    "an extension in a unit that Parquet does not have": (
        pa.opaque(pa.timestamp("s"), "a", "b"),
        "it is read as ",
    ),
}
NESTS: dict[str, Callable[[pa.DataType], pa.DataType]] = {
    "itself": lambda kind: kind,
    "struct": lambda kind: pa.struct({"a": kind}),
    "list": pa.list_,
    "list_view": pa.list_view,
    "map": lambda kind: pa.map_(pa.string(), kind),
    "dictionary": lambda kind: pa.dictionary(pa.int8(), kind),
}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_type_that_cannot_be_read_back_is_refused(tmp_path: Path, name: str, nest: str) -> None:
    """They ended in a traceback, some of them after the models had loaded."""
    kind, reason = REFUSED[name]
    if nest == "dictionary" and isinstance(kind, pa.BaseExtensionType):
        nest = "itself"  # a file names an extension beside a dictionary, and has none of it
    said = refusal(stored(tmp_path, {"n": pa.int8(), "x": NESTS[nest](kind)}))
    assert said.startswith("column 'x' of ")
    assert f"cannot be written to Parquet and read back: {reason}" in said


@pytest.mark.parametrize("name", ["list", "object"])
def test_json_that_parquets_readers_cannot_read_is_refused(tmp_path: Path, name: str) -> None:
    begin, end, most = {"list": ("[", "]", 49), "object": ('{"a":', "}", 98)}[name]
    for depth, is_read in ((most, True), (most + 1, False)):
        nested = f"{begin * depth}1{end * depth}"
        (tmp_path / "p.jsonl").write_text(f'{{"prompt": "a", "x": {nested}}}')
        if is_read:
            pq.write_table(only_part(tmp_path / "p.jsonl").table, tmp_path / "own.pq")
            assert pq.read_table(tmp_path / "own.pq").num_rows == 1
        else:
            assert "column 'x' of" in (said := refusal(tmp_path / "p.jsonl"))
            assert "too deeply nested" in said


def test_every_way_to_hold_a_column_is_let_in_and_read(tmp_path: Path) -> None:
    held = [column for name, column in CASES.items() if "of dictionaries" not in name]
    columns = {f"c{place}": column for place, column in enumerate(held)}
    table = pa.table({"prompt": list("abcdef"), **columns})
    with pa.ipc.new_file(tmp_path / "p.arrow", table.schema) as writer:
        writer.write_table(table)
    part = only_part(tmp_path / "p.arrow")
    for name, column in columns.items():
        assert part.table[name].to_pylist() == column.to_pylist()


def test_wide_types_are_tried_in_little_memory(tmp_path: Path) -> None:
    """A row of each would take 16 GiB, and the file has none."""
    wide = pa.list_(pa.int64(), 2**31 - 1)
    tensor = pa.fixed_shape_tensor(pa.float64(), [2**15, 2**15])
    kinds = {"a": wide, "b": pa.binary(2**27), "c": tensor, "d": pa.struct({"e": wide})}
    before = pa.default_memory_pool().max_memory()
    assert read(stored(tmp_path, kinds)).schema.names[1:] == list(kinds)
    assert pa.default_memory_pool().max_memory() < before + 2**20
    assert small(pa.map_(pa.string(), pa.binary(9))) == pa.map_(pa.string(), pa.binary(2))
