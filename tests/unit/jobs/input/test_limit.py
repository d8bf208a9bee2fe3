"""A pilot: so many rows of an input, spread over it, with their own values."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import SpecError
from jobs.output.verify import verify
from jobs.spec.sample import sample_rows
from tests.unit.jobs.local import local_job, run, write_prompts
from tests.unit.jobs.reading import read

ROWS = 1000


def write(folder: Path, ending: str) -> None:
    """Two files of an input: 700 rows and 300."""
    for name, rows in (("a", range(700)), ("b", range(700, ROWS))):
        texts, numbers = [f"prompt {row}" for row in rows], list(rows)
        if ending == "parquet":
            table = pa.table({"prompt": texts, "n": numbers})
            pq.write_table(table, folder / f"{name}.parquet", row_group_size=64)
        else:
            lines = [json.dumps({"prompt": t, "n": n}) for t, n in zip(texts, numbers, strict=True)]
            (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_pilot_has_rows_of_the_whole_input(tmp_path: Path, ending: str) -> None:
    write(tmp_path, ending)
    prompts = read(tmp_path, limit=50, rows_per_part=16)
    wanted = sample_rows(ROWS, 50, 0)
    assert prompts.num_rows == 50
    assert prompts.num_parts == 4
    parts = list(prompts.parts())
    assert [len(part.prompts) for part in parts] == [16, 16, 16, 2]
    assert [text for part in parts for text in part.prompts] == [f"prompt {n}" for n in wanted]
    assert [n for part in parts for n in part.table["n"].to_pylist()] == wanted
    (last,) = prompts.parts(only=[3])
    assert last.table == parts[3].table
    assert last.seeds == parts[3].seeds
    assert prompts.sample(50).prompts == [f"prompt {n}" for n in wanted]
    assert prompts.sample(10).prompts == [f"prompt {wanted[n]}" for n in sample_rows(50, 10, 0)]
    assert min(wanted) < 100
    assert max(wanted) > 900


def test_a_limit_above_the_input_takes_all(tmp_path: Path) -> None:
    write(tmp_path, "jsonl")
    prompts = read(tmp_path, limit=5000)
    assert prompts.num_rows == ROWS
    assert [n for p in prompts.parts() for n in p.table["n"].to_pylist()] == list(range(ROWS))


def test_a_pilots_dataset_is_whole_and_another_one_than_the_jobs(tmp_path: Path) -> None:
    write(tmp_path, "parquet")
    fields = {"limit": 12, "rows_per_part": 4, "id_column": None}
    job = local_job(tmp_path / "*.parquet", tmp_path / "out", **fields)
    run(job)
    assert job.output.require_job()["rows"] == 12
    assert list(verify(job.output)) == []
    run(local_job(tmp_path / "*.parquet", tmp_path / "out", **fields))
    whole = local_job(tmp_path / "*.parquet", tmp_path / "out", **{**fields, "limit": 13})
    with pytest.raises(Exception, match="limit: was 12, is 13"):
        run(whole)


def test_a_pilot_is_not_extended(tmp_path: Path) -> None:
    """A file more, and other rows are the pilot's: the new ones came beside the old ones."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_prompts(folder / "a.csv", 40)
    run(local_job(folder, tmp_path / "out", limit=8))
    write_prompts(folder / "b.csv", 40)
    with pytest.raises(SpecError, match="limit and --extend"):
        run(local_job(folder, tmp_path / "out", limit=8), extend=True)
