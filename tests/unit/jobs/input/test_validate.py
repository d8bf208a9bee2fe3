"""Nasty rows: kept, or failed alone with the reason; and ids that two rows have."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import InputError
from actors.seeds import MAX_SEED, row_seed
from tests.unit.jobs.reading import only_part, read, refusal

LONG = "a red circle " * 8000
"""104,000 characters."""


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
    assert part.invalid_rows == {}


def test_a_prompt_beyond_all_bounds_fails_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a" * (2**22 + 1), "fine"]}), tmp_path / "p.parquet")
    part = only_part(tmp_path / "p.parquet")
    assert part.invalid_rows == {
        0: "the prompt has 4,194,305 characters; at most 4,194,304 are read"
    }


@pytest.mark.parametrize("ending", ["csv", "jsonl", "txt"])
def test_a_nul_character_fails_its_row(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"p.{ending}"
    lines = {"csv": "prompt\nfine\na\0b\n", "txt": "fine\na\0b\n"}
    file.write_text(lines.get(ending, '{"prompt": "fine"}\n{"prompt": "a\\u0000b"}\n'))
    part = only_part(file)
    assert part.prompts == ["fine", ""]
    assert part.invalid_rows == {1: "the prompt has a NUL character at position 1"}


def test_an_unpaired_surrogate_fails_its_row(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(
        '{"prompt": "fine \\ud83d\\ude00", "tag": "x"}\n{"prompt": "a \\ud800 b", "tag": "x"}\n'
        '{"prompt": "fine", "tag": "\\udc00"}\n'
    )
    part = only_part(file)
    assert part.invalid_rows == {
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
        assert part.invalid_rows == {1: "column 'tag' is not valid Unicode text"}
        assert part.table.column("tag").to_pylist() == ["fine", "caf\ufffd"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("-1", "seed -1 is not an integer in 0..9223372036854775807"),
        ("9223372036854775807", None),
        ("null", None),
    ],
)
def test_a_seed_in_jsonl_is_an_integer_of_63_bits_or_null(
    tmp_path: Path, value: str, reason: str | None
) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(f'{{"prompt": "a", "s": 5}}\n{{"prompt": "b", "s": {value}}}\n')
    part = only_part(file, seed_column="s")
    assert part.invalid_rows == ({1: reason} if reason else {})
    assert part.seeds[1] == {"-1": 0, "null": row_seed(0, "1")}.get(value, MAX_SEED)


def test_seeds_of_uint64_beyond_63_bits_fail_their_row(tmp_path: Path) -> None:
    seeds = pa.array([1, 2**63, None], pa.uint64())
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "s": seeds}), tmp_path / "p.parquet")
    part = only_part(tmp_path / "p.parquet", seed_column="s")
    assert list(part.invalid_rows) == [1]
    assert part.seeds[2] == row_seed(0, "2")


@pytest.mark.parametrize("seeds", [[1.0, float("nan")], [1.5, 2.0], [True, False], [[1], [2]]])
def test_a_column_of_seeds_that_are_no_integers_is_refused(
    tmp_path: Path, seeds: list[Any]
) -> None:
    """As floats, 2^53 + 1 and 2^53 are one seed."""
    pq.write_table(pa.table({"prompt": ["a", "b"], "s": seeds}), tmp_path / "p.parquet")
    reason = refusal(tmp_path / "p.parquet", seed_column="s")
    assert "seed_column 's'" in reason
    assert "must hold integers" in reason


# ---- ids


def test_an_id_that_occurs_twice_is_refused_with_both_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prompt\n007,a\n7,b\n,c\n,d\n")
    (tmp_path / "b.csv").write_text("id,prompt\nx,a\n007,b\n")
    read(tmp_path / "a.csv", id_column="id").check_ids()
    with pytest.raises(InputError, match=r"id_column 'id' has '007' in row 0 and in row 5"):
        read(tmp_path, id_column="id").check_ids()
    read(tmp_path).check_ids()


def test_two_ids_with_one_hash_are_two_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.input.validate._hash", len)
    (tmp_path / "p.csv").write_text("id,prompt\nab,a\ncd,b\nabc,c\n")
    read(tmp_path / "p.csv", id_column="id").check_ids()
    (tmp_path / "p.csv").write_text("id,prompt\nab,a\ncd,b\nab,c\n")
    with pytest.raises(InputError, match="'ab' in row 0 and in row 2"):
        read(tmp_path / "p.csv", id_column="id").check_ids()


def test_ids_are_compared_in_little_memory(tmp_path: Path) -> None:
    rows = 300_000
    ids = [f"a-rather-long-identifier-{row}" for row in range(rows)]
    pq.write_table(pa.table({"id": ids, "prompt": ids}), tmp_path / "p.parquet")
    prompts = read(tmp_path / "p.parquet", id_column="id")
    del ids
    tracemalloc.start()
    prompts.check_ids()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 24 * rows


def test_ids_are_text_or_integers(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a"], "f": [0.5], "i": [1]})
    pq.write_table(table, tmp_path / "p.parquet")
    assert "must hold text, integers or UUIDs" in refusal(tmp_path / "p.parquet", id_column="f")
    assert only_part(tmp_path / "p.parquet", id_column="i").seeds == [row_seed(0, "1")]
