"""Nasty CSV, JSON Lines and text: refused with the line and the rule."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.jobs.reading import only_part, read, refusal


@pytest.mark.parametrize(
    ("content", "reason"),
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
def test_a_broken_csv_is_refused_with_its_line(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    found = refusal(tmp_path / "p.csv")
    assert reason in found
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
        assert only_part(tmp_path / name).invalid_rows == {1: "the prompt is empty"}


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
    file = tmp_path_factory.mktemp("csv") / "p.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("prompt", "n"), *rows])
    part = only_part(file)
    assert list(zip(*part.table.to_pydict().values(), strict=True)) == rows


@pytest.mark.parametrize(
    ("lines", "reason"),
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
    tmp_path: Path, lines: list[str], reason: str
) -> None:
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    found = refusal(tmp_path / "p.jsonl")
    assert reason in found
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
