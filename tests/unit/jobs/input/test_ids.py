"""Ids that two rows have."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import InputError
from actors.seeds import row_seed
from jobs.input.ids import check_ids
from tests.unit.jobs.reading import only_part, read, refusal


def test_an_id_that_occurs_twice_is_refused_with_both_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prompt\n007,a\n7,b\n,c\n,d\n")
    (tmp_path / "b.csv").write_text("id,prompt\nx,a\n007,b\n")
    check_ids(read(tmp_path / "a.csv", id_column="id"))
    with pytest.raises(InputError, match=r"id_column 'id' has '007' in row 0 and in row 5"):
        check_ids(read(tmp_path, id_column="id"))
    check_ids(read(tmp_path))


def test_two_ids_with_one_hash_are_two_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.input.ids._hash", len)
    (tmp_path / "p.csv").write_text("id,prompt\nab,a\ncd,b\nabc,c\n")
    check_ids(read(tmp_path / "p.csv", id_column="id"))
    (tmp_path / "p.csv").write_text("id,prompt\nab,a\ncd,b\nab,c\n")
    with pytest.raises(InputError, match="'ab' in row 0 and in row 2"):
        check_ids(read(tmp_path / "p.csv", id_column="id"))


def test_ids_are_compared_in_little_memory(tmp_path: Path) -> None:
    rows = 300_000
    ids = [f"a-rather-long-identifier-{row}" for row in range(rows)]
    pq.write_table(pa.table({"id": ids, "prompt": ids}), tmp_path / "p.parquet")
    prompts = read(tmp_path / "p.parquet", id_column="id")
    del ids
    tracemalloc.start()
    check_ids(prompts)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 24 * rows


def test_ids_are_text_or_integers(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a"], "f": [0.5], "i": [1]})
    pq.write_table(table, tmp_path / "p.parquet")
    assert "must hold text or integers" in refusal(tmp_path / "p.parquet", id_column="f")
    assert only_part(tmp_path / "p.parquet", id_column="i").seeds == [row_seed(0, "1")]
