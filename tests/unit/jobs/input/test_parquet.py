"""Nasty Parquet files: refused with the file and the rule."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import InputError
from jobs.input.base import BATCH_BYTES
from jobs.input.parquet import ParquetFile
from jobs.input.source import source_at
from tests.unit.jobs.reading import only_part, read, refusal


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    table = pa.table({"prompt": [f"number {row}" for row in range(100)]})
    pq.write_table(table, file, write_page_checksum=True, compression="none", use_dictionary=False)
    content = file.read_bytes()
    file.write_bytes(content.replace(b"number 50", b"number 5O"))
    with pytest.raises(InputError, match=r"p\.parquet: cannot be read: .*CRC checksum"):
        only_part(file)
    with pytest.raises(InputError, match="CRC checksum"):
        read(file).sample(8)


def test_a_truncated_parquet_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    pq.write_table(pa.table({"prompt": ["a"] * 100}), file)
    file.write_bytes(file.read_bytes()[:-20])
    assert "p.parquet: cannot be read" in refusal(file)


def test_a_parquet_bomb_is_refused_by_its_footer(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    table = pa.table({"prompt": ["a" * 2**20] * 300})
    pq.write_table(table, file, use_dictionary=False, compression="zstd", row_group_size=100)
    assert file.stat().st_size < 2**18
    assert "unpacks to 314," in refusal(file)


def test_a_huge_row_group_is_refused_by_its_footer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"prompt": ["abc"] * 9}), tmp_path / "p.parquet")
    monkeypatch.setattr("jobs.input.parquet.MAX_UNPACKED_BYTES", 20)
    assert "row group 0 unpacks to" in refusal(tmp_path / "p.parquet")


def test_long_rows_are_read_few_at_a_time(tmp_path: Path) -> None:
    """A part of two rows must not hold the thousand that were read with them."""
    file, text = tmp_path / "p.parquet", "a" * 2**20
    words = pa.array([f"{row}" for row in range(40)])
    long = pa.array([f"{row:04d}{text}" for row in range(40)])
    pq.write_table(pa.table({"prompt": words, "long": long}), file, use_dictionary=False)
    reader = ParquetFile(source_at(file))
    sizes = [batch.num_rows for batch in reader.batches()]
    assert sum(sizes) == 40
    assert max(sizes) * len(text) <= BATCH_BYTES
    assert [batch.num_rows for batch in reader.batches(columns=["prompt"])] == [40]
    assert [batch["prompt"][0].as_py() for batch in reader.batches(skip=39)] == ["39"]
    assert reader.pick([3, 38], ["prompt"])["prompt"].to_pylist() == ["3", "38"]
