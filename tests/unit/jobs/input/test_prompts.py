"""Reading prompts: every format, lazily, and what becomes of a bad row."""

from __future__ import annotations

import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import InputError
from actors.seeds import MAX_SEED, row_seed
from jobs.input.parquet import ParquetFile
from jobs.input.prompts import Prompts
from jobs.spec.job_spec import make_spec
from jobs.spec.sample import sample_rows
from tests.unit.jobs.reading import read


def test_each_format_gives_the_same_rows(tmp_path: Path) -> None:
    rows = {"prompt": ["a red circle", "two, with comma", "schön"], "tag": ["x", "y", "z"]}
    table = pa.table(rows)
    pq.write_table(table, tmp_path / "p.parquet")
    pyarrow.csv.write_csv(table, tmp_path / "p.csv")
    pairs = list(zip(*rows.values(), strict=True))
    (tmp_path / "p.tsv").write_text("\n".join(f"{p}\t{t}" for p, t in [("prompt", "tag"), *pairs]))
    lines = [f'{{"prompt": "{p}", "tag": "{t}"}}' for p, t in pairs]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    for name in ("p.parquet", "p.csv", "p.tsv", "p.jsonl"):
        prompts = read(tmp_path / name)
        assert prompts.num_rows == 3, name
        (part,) = prompts.parts()
        assert part.prompts == rows["prompt"], name
        assert part.table.to_pydict() == rows, name


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("\ufeffone\r\n\r\ntwo\n\n\n", encoding="utf-8")
    (part,) = read(tmp_path / "p.txt").parts()
    assert part.prompts == ["one", "", "two"]
    assert part.invalid_rows == {1: "the prompt is empty"}


def test_quotes_in_a_tsv_are_part_of_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text('prompt\tn\n"G I G G L E" painted\t1\n"open\t2\nlast\t3\n')
    (part,) = read(tmp_path / "p.tsv").parts()
    assert part.prompts == ['"G I G G L E" painted', '"open', "last"]


def test_dates_in_jsonl_stay_text(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "2020-01-01", "n": 1}\n')
    (part,) = read(tmp_path / "p.jsonl").parts()
    assert part.table.to_pydict() == {"prompt": ["2020-01-01"], "n": [1]}


def test_a_part_is_the_same_table_wherever_reading_began(tmp_path: Path) -> None:
    """Parquet's pages follow a table's chunks, so a resumed part must have the same chunks."""
    table = pa.table({"prompt": [f"{row} " * 50 for row in range(3000)]})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=700)
    prompts = read(tmp_path / "p.parquet", rows_per_part=500)
    for first, part in enumerate(prompts.parts()):
        resumed = next(prompts.parts(only=[first]))
        assert part.table.column(0).num_chunks == resumed.table.column(0).num_chunks == 1
        assert part.table.equals(resumed.table)


def test_files_may_differ_in_nullability_and_metadata(tmp_path: Path) -> None:
    strict = pa.schema([pa.field("prompt", pa.string(), nullable=False)], metadata={"a": "b"})
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"prompt": ["b"]}, schema=strict), tmp_path / "b.parquet")
    (part,) = read(tmp_path).parts()
    assert part.prompts == ["a", "b"]
    assert read(tmp_path).sample(2).prompts == ["a", "b"]


def test_text_that_is_not_utf8_fails_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff\xfe", None], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"prompt": text}), tmp_path / "p.parquet")
    (part,) = read(tmp_path / "p.parquet").parts()
    assert part.invalid_rows == {
        1: "column 'prompt' is not valid Unicode text",
        2: "the prompt is null",
    }


def test_an_input_without_rows_has_no_sample(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "p.parquet")
    prompts = read(tmp_path / "p.parquet")
    assert prompts.num_parts == 0
    assert list(prompts.parts()) == []
    with pytest.raises(InputError, match="has no rows"):
        prompts.sample(8)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    size=st.integers(1, 30),
    group=st.integers(1, 15),
)
def test_parts_are_consecutive_rows_wherever_one_starts(
    sizes: list[int], size: int, group: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("in")
    expected = []
    for number, rows in enumerate(sizes):
        names = [f"{number}-{row}" for row in range(rows)]
        expected += names
        pq.write_table(
            pa.table({"prompt": names}), folder / f"{number}.parquet", row_group_size=group
        )
    prompts = read(folder, rows_per_part=size)
    parts = list(prompts.parts())
    assert [p for part in parts for p in part.prompts] == expected
    assert [part.index for part in parts] == list(range(prompts.num_parts))
    for some in (*([n] for n in range(len(parts))), range(0, len(parts), 2), range(1, len(parts))):
        found = list(prompts.parts(only=some))
        assert [part.index for part in found] == list(some)
        assert [p.prompts for p in found] == [parts[n].prompts for n in some]
        assert [p.seeds for p in found] == [parts[n].seeds for n in some]


def test_a_sample_has_a_row_of_each_stretch_and_keeps_its_seeds(tmp_path: Path) -> None:
    for number in range(2):
        names = [str(500 * number + row) for row in range(500)]
        pq.write_table(
            pa.table({"prompt": names}), tmp_path / f"{number}.parquet", row_group_size=64
        )
    prompts = read(tmp_path, rows_per_part=1000, seed=3)
    sample = prompts.sample(10)
    rows = sample_rows(1000, 10, seed=3)
    assert sample.prompts == [str(row) for row in rows]
    assert [row // 100 for row in rows] == list(range(10))
    (whole,) = prompts.parts()
    assert sample.seeds == [whole.seeds[row] for row in rows]
    assert read(tmp_path).sample(5000).prompts == whole.prompts


@pytest.mark.parametrize(("group_rows", "times"), [(400_000, 1), (10_000, 3)])
def test_a_huge_row_group_is_read_once_for_all_its_holes(
    group_rows: int, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading anew would read it from its start each time; where groups are small it skips them."""
    table = pa.table({"prompt": pa.array(range(400_000)).cast(pa.string())})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=group_rows)
    begun: list[int] = []
    batches = ParquetFile.batches

    def watched(self: ParquetFile, skip: int = 0, columns: Any = None) -> Any:
        begun.append(skip)
        return batches(self, skip, columns)

    monkeypatch.setattr(ParquetFile, "batches", watched)
    prompts = read(tmp_path / "p.parquet", rows_per_part=1000)
    found = [part.prompts[0] for part in prompts.parts(only=[3, 150, 330])]
    assert found == ["3000", "150000", "330000"]
    assert begun == [3000, 150_000, 330_000][:times]


def test_a_sample_of_pictures_is_as_large_as_fits_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8,192 embedded pictures of 1 MB would be 8 GB in the driver."""
    monkeypatch.setattr("jobs.input.prompts.MAX_SAMPLE_BYTES", 200 * 10_000)
    table = pa.table({"prompt": ["a"] * 2000, "picture": [bytes(10_000)] * 2000})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=100)
    fields = {"task": "edit", "image_column": "picture", "edit": {"strength": 0.5}}
    prompts = read(tmp_path / "p.parquet", **fields)
    sample = prompts.sample(1000)
    assert 190 <= len(sample.prompts) <= 200
    assert f"a sample of {len(sample.prompts)} rows, not 1000" in caplog.text
    assert sample.seeds == read(tmp_path / "p.parquet", **fields).sample(1000).seeds
    assert len(prompts.sample(150).prompts) == 150
    # Without pictures of its own a job's sample is as large as it was asked for.
    assert len(read(tmp_path / "p.parquet").sample(1000).prompts) == 1000


def test_ten_million_rows_are_read_in_constant_memory(tmp_path: Path) -> None:
    """The first parts of a large file, in Python's and Arrow's memory: no part adds to it."""
    group = pa.table({"prompt": [f"a red circle number {row}" for row in range(20_000)]})
    with pq.ParquetWriter(tmp_path / "p.parquet", group.schema) as writer:
        for _ in range(500):
            writer.write_table(group)
    tracemalloc.start()
    arrow_before, arrow, python = pa.total_allocated_bytes(), [0], [0]
    prompts = read(tmp_path / "p.parquet", rows_per_part=1024)
    assert prompts.num_rows == 10_000_000
    for part in islice(prompts.parts(), 100):
        assert len(part.prompts) == 1024
        arrow.append(max(arrow[-1], pa.total_allocated_bytes() - arrow_before))
        python.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    # What 5 parts take of one row group is all that 100 parts of 6 take.
    whole = 500 * group.nbytes
    assert arrow[100] < 1.02 * arrow[5] < whole / 5
    assert python[100] < 1.1 * python[5] < whole / 100


def test_a_resumed_job_seeks_in_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(row) for row in range(1000)]
    pq.write_table(pa.table({"prompt": names}), tmp_path / "p.parquet", row_group_size=100)
    read_groups: list[list[int]] = []
    original = pq.ParquetFile.iter_batches

    def spy(file: pq.ParquetFile, *args: Any, **kwargs: Any) -> Any:
        read_groups.append(kwargs["row_groups"])
        return original(file, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    monkeypatch.setattr("jobs.input.prompts.SEEK_ROWS", 100)
    prompts = read(tmp_path / "p.parquet", rows_per_part=50)
    assert [part.prompts[0] for part in prompts.parts(only=[19])] == ["950"]
    assert read_groups == [[9]]
    read_groups.clear()
    found = [part.prompts[0] for part in prompts.parts(only=[0, 3, 12, 19])]
    assert found == ["0", "150", "600", "950"]
    begun = [groups[0] for groups in read_groups]
    assert begun == [0, 6, 9], "a short hole is read through, a long one skipped"


def test_bad_rows_fail_alone(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["fine", None, " \n", "a\0b"], "s": [1, 2, None, MAX_SEED]})
    pq.write_table(table, tmp_path / "p.parquet")
    (part,) = read(tmp_path / "p.parquet", seed_column="s").parts()
    assert part.invalid_rows == {
        1: "the prompt is null",
        2: "the prompt is empty",
        3: "the prompt has a NUL character at position 1",
    }


def test_seeds_come_from_their_column_or_from_the_row(tmp_path: Path) -> None:
    huge = "9" * 5000
    (tmp_path / "p.csv").write_text(
        f"id,prompt,s\n007,a,5\nx,b,\ny,c,-1\nz,d,1.5\nv,e,{2**63}\nw,f,{huge}\n"
    )
    (part,) = read(tmp_path / "p.csv", seed_column="s", id_column="id", seed=9).parts()
    assert part.seeds[:2] == [5, row_seed(9, "x")]
    assert sorted(part.invalid_rows) == [2, 3, 4, 5]
    assert part.invalid_rows[2] == f"seed '-1' is not an integer in 0..{MAX_SEED}"


@given(
    ids=st.lists(
        st.one_of(st.none(), st.just(""), st.sampled_from(["0", "1", "2", "number/1", "row/1"])),
        min_size=1,
        max_size=6,
        unique_by=lambda one: one or object(),
    )
)
def test_a_row_without_an_id_has_a_seed_that_no_id_gives(
    ids: list[str | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two rows shared one where a row's number was another row's id."""
    file = tmp_path_factory.mktemp("ids") / "p.parquet"
    pq.write_table(pa.table({"prompt": ["a"] * len(ids), "id": pa.array(ids, pa.string())}), file)
    (part,) = read(file, id_column="id").parts()
    assert len(set(part.seeds)) == len(ids)


def test_csv_cells_stay_what_the_user_wrote(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt,n\n1e5,007\n2020-01-01,NA\n")
    (part,) = read(tmp_path / "p.csv").parts()
    assert part.table.to_pydict() == {"prompt": ["1e5", "2020-01-01"], "n": ["007", "NA"]}


def test_a_quoted_newline_is_part_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('prompt,n\n"two\nlines",1\nb,2\n')
    (part,) = read(tmp_path / "p.csv").parts()
    assert part.prompts == ["two\nlines", "b"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "p.csv",
            b"prompt,a\nx,1\ny\n",
            "p.csv: the row that begins in line 3 has another number of cells (1)",
        ),
        ("p.csv", b"prompt,prompt\nx,1\n", "names 'prompt' twice"),
        ("p.csv", b"text\nx\n", "p.csv. The columns there: text"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prom', "p.jsonl: line 2 is not JSON"),
        ("p.jsonl", b'{"prompt": {"a": 1}}\n', "holds struct<a: int64>, and must hold text"),
        ("p.parquet", b"PAR1 no", "p.parquet: cannot be read"),
        ("p.parquet", b"", "p.parquet: cannot be read"),
        ("p.doc", b"x", "ends in '.doc'; known: .parquet"),
        ("p.txt", b"\xff\xfe\n", "p.txt is UTF-16"),
    ],
)
def test_a_bad_file_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read(tmp_path / name).parts())
    assert reason in str(caught.value)


def test_files_of_one_job_have_one_schema(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"prompt": ["b"], "n": ["1"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="'n' is string, not int64"):
        read(tmp_path)


def test_a_folder_may_have_strangers_in_it(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden.parquet").write_bytes(b"x")
    (tmp_path / "README.md").write_text("read me")
    assert read(tmp_path).num_rows == 1
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "nowhere")
    (tmp_path / "b.csv").write_text("prompt\nb\n")
    with pytest.raises(InputError, match="several formats"):
        read(tmp_path)
    assert read(tmp_path / "*.csv").num_rows == 1


def test_one_column_may_number_rows_and_seeds(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("n,prompt\n5,a red circle\n6,a blue ring\n")
    fields = {"input": str(tmp_path / "p.csv"), "output": str(tmp_path / "o"), "models": "shapes"}
    prompts = Prompts(make_spec({**fields, "id_column": "n", "seed_column": "n"}))
    assert prompts.sample(2).seeds == [5, 6]
