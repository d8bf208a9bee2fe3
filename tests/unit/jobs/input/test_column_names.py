"""Names of columns with which somebody could not read the dataset."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import InputError
from jobs.input.column_names import check_readable
from jobs.output.columns import our_columns

TWICE = [pa.field("a", pa.int64()), pa.field("a", pa.int64())]
STRUCT_TWICE = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], fields=TWICE)
OURS = our_columns(save_student=True)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"prompt": ["a"], "Prompt": ["b"]}, "'Prompt' that differs only in case from another"),
        ({"prompt": ["a"], "Seed": [1]}, "differs only in case from the output's own 'seed'"),
        ({"prompt": ["a"], "é": [1], "É": [2]}, "differs only in case"),
        ({"prompt": ["a"], "": [1]}, "without a name"),
        ({"prompt": ["a"], "__filename": [1]}, "pyarrow's datasets"),
        ({"a": [{"b": 1}], "a.b": [2]}, "a field of the other"),
        ({"s": [{"x": 1, "X": 2}]}, "field of 's' 'X'"),
        ({"s": [[{"x": 1, "X": 2}]]}, "field of 's' 'X'"),
        ({"s": STRUCT_TWICE}, "has the name of another field of 's'"),
    ],
)
def test_names_that_readers_take_for_one_are_refused(columns: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_readable(pa.table(columns).schema, OURS)
    assert said in str(caught.value)
    assert "ename" in str(caught.value) or "Name it" in str(caught.value)


HONEST = ["prompt", "a.b", "a b", "index", "level_0", "__index_level_0__", "ß", "SS", "a;b", "seed"]


def test_other_names_are_read_by_duckdb_and_pandas(tmp_path: Path) -> None:
    table = pa.table({name: [place] for place, name in enumerate(HONEST)})
    check_readable(table.schema, OURS)
    pq.write_table(table, tmp_path / "p.parquet")
    assert duckdb.sql(f"SELECT * FROM '{tmp_path}/p.parquet'").columns == HONEST
    assert list(pandas.read_parquet(tmp_path / "p.parquet").columns) == HONEST


def test_duckdb_renames_what_is_refused(tmp_path: Path) -> None:
    """If it one day does not, the rule can go."""
    pq.write_table(pa.table({"a": [1], "A": [2]}), tmp_path / "p.parquet")
    assert duckdb.sql(f"SELECT * FROM '{tmp_path}/p.parquet'").columns != ["a", "A"]
    pq.write_table(pa.table({"__filename": [1]}), tmp_path / "q.parquet")
    with pytest.raises(ValueError, match="__filename"):
        pandas.read_parquet(tmp_path / "q.parquet")
