"""Nasty files and folders: refused with the file and the rule, or kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import InputError
from jobs.input.discovery import check_apart
from tests.unit.jobs.reading import only_part, read, refusal


def test_a_part_too_large_for_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no table comes near the 2 GiB at which Arrow's text columns end."""
    monkeypatch.setattr("jobs.input.prompts.MAX_PART_BYTES", 100_000)
    pq.write_table(pa.table({"prompt": ["a" * 1000] * 300}), tmp_path / "p.parquet")
    with pytest.raises(InputError, match=r"row 0 on take .* choose a new output folder too"):
        list(read(tmp_path / "p.parquet", rows_per_part=300).parts())
    assert len(list(read(tmp_path / "p.parquet", rows_per_part=50).parts())) == 6


def test_a_part_too_large_is_refused_by_the_footer_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything starts: a job that has begun may not change rows_per_part any more."""
    monkeypatch.setattr("jobs.input.prompts.MAX_PART_BYTES", 100_000)
    for name, letters, rows in (("a", 10, 500), ("b", 1000, 300)):
        prompts = [f"{row:03d}" + "a" * letters for row in range(rows)]
        table = pa.table({"prompt": prompts})
        pq.write_table(table, tmp_path / f"{name}.parquet", use_dictionary=False, row_group_size=70)
    said = r"rows from row 500 on take .* Lower rows_per_part \(100\) to (\d\d) or less"
    with pytest.raises(InputError, match=said) as refused:
        read(tmp_path, rows_per_part=100)
    found = re.search(r"to (\d+) or less", str(refused.value))
    assert found
    fits = int(found[1])
    assert fits > 95
    assert sum(len(part.prompts) for part in read(tmp_path, rows_per_part=fits).parts()) == 800


def test_a_row_too_large_for_any_part_is_refused_with_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.input.prompts.MAX_PART_BYTES", 1_000)
    pq.write_table(pa.table({"prompt": ["a" * 2000]}), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="to 1, and give large values as paths"):
        read(tmp_path / "p.parquet")


def test_large_strings_and_dictionaries_are_text(tmp_path: Path) -> None:
    words = pa.array(["a", "b", "a"])
    table = pa.table(
        {
            "prompt": words.dictionary_encode(),
            "id": pa.array(["x", "y", "z"], pa.large_string()),
            "nested": [[{"k": 1}], [], None],
        }
    )
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=2)
    part = only_part(tmp_path / "p.parquet", id_column="id")
    assert part.prompts == ["a", "b", "a"]
    assert part.table.schema.types[:2] == [pa.string(), pa.large_string()]
    assert part.table.to_pydict() == table.to_pydict()
    pq.write_table(table.select(["id"]), tmp_path / "p.parquet")
    assert only_part(tmp_path / "p.parquet", prompt_column="id").prompts == ["x", "y", "z"]


@pytest.mark.parametrize("kind", [pa.struct([("a", pa.string())]), pa.int64(), pa.binary()])
def test_a_prompt_column_without_text_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"prompt": pa.array([None], kind)}), tmp_path / "p.parquet")
    reason = refusal(tmp_path / "p.parquet")
    assert f"holds {kind}, and must hold text" in reason
    assert "The columns there: prompt." in reason


def test_a_missing_column_is_refused_with_those_there(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("Prompt,n\na,1\n")
    assert "prompt_column 'prompt' is not in" in refusal(tmp_path / "p.csv")
    assert "The columns there: Prompt, n." in refusal(tmp_path / "p.csv")


def test_a_path_that_cannot_be_looked_for_is_refused() -> None:
    assert "cannot be looked for: File name too long" in refusal("a" * 5000)
    assert "cannot be looked for: " in refusal("~no-such-user/p.csv")


def test_a_column_that_differs_in_case_is_another_schema(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"Prompt": ["a"]}), tmp_path / "b.parquet")
    assert "b.parquet has other columns than" in refusal(tmp_path)


def test_strangers_and_hive_folders_are_no_columns(tmp_path: Path) -> None:
    (tmp_path / "seed=9").mkdir()
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "seed=9" / "p.parquet")
    for name in ("_SUCCESS", ".p.parquet.crc", "README.md", "_temporary.parquet"):
        (tmp_path / name).write_bytes(b"stranger")
    part = only_part(tmp_path)
    assert part.table.to_pydict() == {"prompt": ["a"]}


def test_files_without_rows_are_an_empty_job(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "p.parquet")
    (tmp_path / "p.csv").write_text("prompt,n\n")
    (tmp_path / "p.txt").write_text("")
    for name in ("p.parquet", "p.csv", "p.txt"):
        assert read(tmp_path / name).num_rows == 0
        assert list(read(tmp_path / name).parts()) == []


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_input_that_changes_while_it_is_read_is_refused(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"p.{ending}"
    rows = 5000
    if ending == "csv":
        file.write_text("prompt\n" + "abc\n" * rows)
    else:
        pq.write_table(pa.table({"prompt": ["abc"] * rows}), file)
    prompts = read(file, rows_per_part=10)
    assert prompts.num_rows == rows
    parts = prompts.parts()
    next(parts)
    now = file.stat()
    os.utime(file, ns=(now.st_atime_ns, now.st_mtime_ns + 1))
    with pytest.raises(InputError, match=rf"p\.{ending} changed while it was read"):
        list(parts)
    with pytest.raises(InputError, match="changed while it was read"):
        prompts.sample(8)


def test_an_input_that_vanishes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("prompt\nabc\n")
    prompts = read(file)
    assert prompts.num_rows == 1
    file.unlink()
    with pytest.raises(InputError, match=r"p\.csv changed while it was read"):
        list(prompts.parts())


@pytest.mark.parametrize(
    ("given_input", "output"),
    [
        ("in", "in/out"),
        ("in", "in"),
        ("in", "link/out"),
        ("in/**/*.parquet", "in/out"),
        ("in/*/data/*.parquet", "in/out"),
        ("in/p.csv", "in"),
        ("in/*.csv", "in"),
    ],
)
def test_an_output_inside_the_input_is_refused(
    tmp_path: Path, given_input: str, output: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "in/p.csv").write_text("prompt\nx\n")
    with pytest.raises(InputError, match="one inside the other"):
        check_apart(str(tmp_path / given_input), str(tmp_path / output))


@pytest.mark.parametrize(
    ("given_input", "output"),
    [("in", "out"), ("in/p.csv", "in/out"), ("in/*.csv", "in/out"), ("in", "in-out")],
)
def test_an_output_beside_the_input_is_accepted(
    tmp_path: Path, given_input: str, output: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/p.csv").write_text("prompt\nx\n")
    check_apart(str(tmp_path / given_input), str(tmp_path / output))
