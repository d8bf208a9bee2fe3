"""Nasty input, file by file: refused with the place and the rule, or kept; docs/input.md."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import InputError
from actors.seeds import MAX_SEED, row_seed
from jobs.ids import check_ids
from jobs.prompts import Part, Prompts
from jobs.readers import check_apart
from jobs.spec import make_spec

LONG = "a red circle " * 8000
"""104,000 characters."""


def read(path: Path | str, **fields: Any) -> Prompts:
    return Prompts(make_spec({"input": str(path), "output": "o", "models": "shapes", **fields}))


def only_part(path: Path, **fields: Any) -> Part:
    (part,) = read(path, **fields).parts()
    return part


def refusal(path: Path | str, **fields: Any) -> str:
    """What is said of an input that is refused before its first part is read."""
    with pytest.raises(InputError) as caught:
        assert read(path, **fields).num_rows < 0, "it was not refused"
    return str(caught.value)


# ---- rows


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "txt", "parquet"])
def test_any_script_and_any_length_is_kept(tmp_path: Path, ending: str) -> None:
    prompts = ["مرحبا \u202eabc", "🎨👩‍🚀", "a\u0301\u2028b", LONG, "a " * 1_500_000 + "end"]
    file = tmp_path / f"p.{ending}"
    match ending:
        case "parquet":
            pq.write_table(pa.table({"prompt": prompts}), file)
        case "jsonl":
            file.write_text("\n".join(json.dumps({"prompt": p}) for p in prompts))
        case "txt":
            file.write_text("\n".join(prompts), encoding="utf-8")
        case _:
            file.write_text("\n".join(["prompt", *prompts]), encoding="utf-8")
    part = only_part(file)
    assert part.prompts == prompts
    assert part.unusable == {}


def test_a_prompt_beyond_all_bounds_fails_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a" * (2**22 + 1), "fine"]}), tmp_path / "p.parquet")
    part = only_part(tmp_path / "p.parquet")
    assert part.unusable == {0: "the prompt has 4,194,305 characters; at most 4,194,304 are read"}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "txt"])
def test_a_nul_character_fails_its_row(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"p.{ending}"
    lines = {"csv": "prompt\nfine\na\0b\n", "txt": "fine\na\0b\n"}
    file.write_text(lines.get(ending, '{"prompt": "fine"}\n{"prompt": "a\\u0000b"}\n'))
    part = only_part(file)
    assert part.prompts == ["fine", ""]
    assert part.unusable == {1: "the prompt has a NUL character at position 1"}


def test_an_unpaired_surrogate_fails_its_row(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(
        '{"prompt": "fine \\ud83d\\ude00", "tag": "x"}\n{"prompt": "a \\ud800 b", "tag": "x"}\n'
        '{"prompt": "fine", "tag": "\\udc00"}\n'
    )
    part = only_part(file)
    assert part.unusable == {
        1: "column 'prompt' is not valid Unicode text",
        2: "column 'tag' is not valid Unicode text",
    }
    assert part.prompts[0] == "fine 😀"
    part.table.validate(full=True)


def test_text_that_no_program_can_read_is_not_passed_on(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"caf\xe9"], pa.binary()).view(pa.string())
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        column = raw.dictionary_encode() if pa.types.is_dictionary(kind) else raw.cast(kind)
        table = pa.table({"prompt": ["a", "b"], "tag": column})
        pq.write_table(table, tmp_path / "p.parquet")
        part = only_part(tmp_path / "p.parquet")
        assert part.unusable == {1: "column 'tag' is not valid Unicode text"}
        assert part.table.column("tag").to_pylist() == ["fine", "caf\ufffd"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("-1", "seed -1 is not an integer in 0..9223372036854775807"),
        ("9223372036854775807", None),
        ("null", None),
    ],
)
def test_a_seed_in_jsonl_is_an_integer_of_63_bits_or_null(
    tmp_path: Path, value: str, said: str | None
) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(f'{{"prompt": "a", "s": 5}}\n{{"prompt": "b", "s": {value}}}\n')
    part = only_part(file, seed_column="s")
    assert part.unusable == ({1: said} if said else {})
    assert part.seeds[1] == {"-1": 0, "null": row_seed(0, "1")}.get(value, MAX_SEED)


def test_seeds_of_uint64_beyond_63_bits_fail_their_row(tmp_path: Path) -> None:
    seeds = pa.array([1, 2**63, None], pa.uint64())
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "s": seeds}), tmp_path / "p.parquet")
    part = only_part(tmp_path / "p.parquet", seed_column="s")
    assert list(part.unusable) == [1]
    assert part.seeds[2] == row_seed(0, "2")


@pytest.mark.parametrize("seeds", [[1.0, float("nan")], [1.5, 2.0], [True, False], [[1], [2]]])
def test_a_column_of_seeds_that_are_no_integers_is_refused(
    tmp_path: Path, seeds: list[Any]
) -> None:
    """As floats, 2^53 + 1 and 2^53 are one seed."""
    pq.write_table(pa.table({"prompt": ["a", "b"], "s": seeds}), tmp_path / "p.parquet")
    said = refusal(tmp_path / "p.parquet", seed_column="s")
    assert "seed_column 's'" in said
    assert "must hold integers" in said


# ---- lines


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"prompt,n\nx,1\ny\n", "line 3 has another number of cells (1) than the header (2)"),
        (b"prompt,n\nx,1\ny,2,3\n", "line 3 has another number of cells (3)"),
        (b'prompt,n\nx,1\n"y,2\nz,3\n', "line 3 has a quote that is never closed"),
        (b'prompt,n\nx,1\n"y,2\nz,3\n"w",4\n', "line 3 has text after a closing quote"),
        (b'prompt,n\n"x\ny",1\n"y" 5,2\n', "line 4 has text after a closing quote"),
        (b'prompt,n\n"' + b"ab\n" * 2**21 + b'",1\n', "line 2 has a cell of more than 4,194,304"),
        (b"prompt,n\n" + b"a" * (2**24 + 1), "line 2 is longer than 16,777,216 characters"),
        ("prompt,n\nx,1\ncafé,2\n".encode("latin-1"), "line 3 is not UTF-8 (byte 0xe9); is it La"),
        ("prompt,n\nx,1\n".encode("utf-16"), "is UTF-16 or UTF-32, not UTF-8"),
        ("prompt,n\nx,1\n".encode("utf-16-le"), "is UTF-16 or UTF-32, not UTF-8"),
        ("prompt,n\nx,1\n".encode("utf-16-be"), "is UTF-16 or UTF-32, not UTF-8"),
        (b"prompt,n,n\nx,1,2\n", "the header names 'n' twice"),
        (b"", "is empty: it has no header"),
        (b"\n\n", "is empty: it has no header"),
    ],
)
def test_a_broken_csv_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    found = refusal(tmp_path / "p.csv")
    assert said in found
    assert "p.csv" in found


def test_a_ragged_tsv_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("prompt\tn\nx\t1\ty\n")
    assert "line 2 has another number of cells (3)" in refusal(tmp_path / "p.tsv")


def test_a_text_file_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"fine\ncaf\xe9\n")
    assert "p.txt: line 2 is not UTF-8" in refusal(tmp_path / "p.txt")


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("\ufeffprompt\nx\n", encoding="utf-8")
    (tmp_path / "p.jsonl").write_text('\ufeff{"prompt": "x"}\n', encoding="utf-8")
    assert only_part(tmp_path / "p.csv").prompts == ["x"]
    assert only_part(tmp_path / "p.jsonl").prompts == ["x"]


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('\nprompt\r\n\r\nx\r\n""\r\n\n')
    (tmp_path / "p.jsonl").write_text('\n{"prompt": "x"}\n \n{"prompt": ""}\n\n')
    for name in ("p.csv", "p.jsonl"):
        assert only_part(tmp_path / name).prompts == ["x", ""]
        assert only_part(tmp_path / name).unusable == {1: "the prompt is empty"}


@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"))] * 2),
        min_size=1,
        max_size=8,
    )
)
def test_what_python_writes_as_csv_is_read_back(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import csv

    file = tmp_path_factory.mktemp("csv") / "p.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("prompt", "n"), *rows])
    part = only_part(file)
    assert list(zip(*part.table.to_pydict().values(), strict=True)) == rows


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"prompt": "a"}', '{"prom'], "line 2 is not JSON"),
        (['{"prompt": "a"}', "", '{"prompt": "b"} x'], "line 3 is not JSON"),
        (['[{"prompt": "a"}]'], "line 1 is a JSON list, not an object"),
        (["[", '{"prompt": "a"},'], "line 1 is not JSON"),
        (['"a"'], "line 1 is a JSON str, not an object"),
        (['{"prompt": "a", "n": NaN}'], "line 1 is not JSON: NaN is not a JSON number"),
        (['{"prompt": "a", "prompt": "b"}'], "line 1 is not JSON: it names 'prompt' twice"),
        (['{"prompt": "a", "n": 18446744073709551616}'], "line 1 does not fit"),
        (['{"prompt": "a", "n": ' + "9" * 5000 + "}"], "line 1 is not JSON: Exceeds the limit"),
        (['{"prompt": "a", "n": ' + "[" * 100_000 + "}"], "line 1 is not JSON"),
        (['{"prompt": "a", "n": ["\\ud800"]}'], "line 1 does not fit"),
        ([], "is empty: it has no line"),
        (['{"prompt": "a", "n": {}}'], "column 'n' of"),
    ],
)
def test_a_broken_jsonl_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    found = refusal(tmp_path / "p.jsonl")
    assert said in found
    assert "p.jsonl" in found


def test_a_type_that_flips_is_refused_with_its_line(tmp_path: Path) -> None:
    lines = ['{"prompt": "a", "n": 1}'] * 5000
    lines[4321] = '{"prompt": "a", "n": "one"}'
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    assert "line 4322 does not fit the lines before it" in refusal(tmp_path / "p.jsonl")


def test_a_column_may_show_late_or_be_null_for_long(tmp_path: Path) -> None:
    lines = ['{"prompt": "a", "n": null}'] * 3000 + ['{"n": 1.5, "prompt": "b", "late": "x"}']
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    prompts = read(tmp_path / "p.jsonl", rows_per_part=4000)
    assert prompts.num_rows == 3001
    (part,) = prompts.parts()
    assert part.table.slice(2999).to_pydict() == {
        "prompt": ["a", "b"],
        "n": [None, 1.5],
        "late": [None, "x"],
    }


# ---- files


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
    monkeypatch.setattr("jobs.readers.MAX_UNPACKED_BYTES", 20)
    assert "row group 0 unpacks to" in refusal(tmp_path / "p.parquet")


def test_a_part_too_large_for_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no table comes near the 2 GiB at which Arrow's text columns end."""
    monkeypatch.setattr("jobs.prompts.MAX_PART_BYTES", 100_000)
    pq.write_table(pa.table({"prompt": ["a" * 1000] * 300}), tmp_path / "p.parquet")
    with pytest.raises(InputError, match=r"rows from row 0 on take .* Lower rows_per_part"):
        list(read(tmp_path / "p.parquet", rows_per_part=300).parts())
    assert len(list(read(tmp_path / "p.parquet", rows_per_part=50).parts())) == 6


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
    assert f"holds {kind}, and must hold text" in refusal(tmp_path / "p.parquet")


def test_a_missing_column_is_refused_with_those_there(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("Prompt,n\na,1\n")
    assert "prompt_column 'prompt' is not in" in refusal(tmp_path / "p.csv")
    assert "The columns there: Prompt, n." in refusal(tmp_path / "p.csv")


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


# ---- an input that changes, and one that is the output


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
        check_apart(str(tmp_path / given_input), tmp_path / output)


@pytest.mark.parametrize(
    ("given_input", "output"),
    [("in", "out"), ("in/p.csv", "in/out"), ("in/*.csv", "in/out"), ("in", "in-out")],
)
def test_an_output_beside_the_input_is_accepted(
    tmp_path: Path, given_input: str, output: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/p.csv").write_text("prompt\nx\n")
    check_apart(str(tmp_path / given_input), tmp_path / output)


# ---- ids


def test_an_id_that_occurs_twice_is_refused_with_both_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prompt\n007,a\n7,b\n,c\n,d\n")
    (tmp_path / "b.csv").write_text("id,prompt\nx,a\n007,b\n")
    check_ids(read(tmp_path / "a.csv", id_column="id"))
    with pytest.raises(InputError, match=r"id_column 'id' has '007' in row 0 and in row 5"):
        check_ids(read(tmp_path, id_column="id"))
    check_ids(read(tmp_path))


def test_two_ids_with_one_hash_are_two_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.ids._hash", len)
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
