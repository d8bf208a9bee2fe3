"""What a folder or a glob takes: each real file once, in natural order, and nothing in silence."""

from __future__ import annotations

import bz2
import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import InputError
from jobs.input import unpacked
from jobs.input.formats import natural
from tests.unit.jobs.reading import read, refusal


def prompts_of(place: Path | str, **fields: Any) -> list[str]:
    return [prompt for part in read(place, **fields).parts() for prompt in part.prompts]


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


LINES = b'{"prompt": "a"}\n{"prompt": "b", "n": 1}\n'
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstd,
}


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize(
    ("ending", "content"),
    [
        (".jsonl", LINES),
        (".ndjson", LINES),
        (".json", LINES),
        (".json", b'\n [{"prompt": "a"},\n {"prompt": "b", "n": 1}]\n'),
        (".csv", b"prompt,n\na,\nb,1\n"),
        (".tsv", b"prompt\tn\na\t\nb\t1\n"),
        (".txt", b"a\nb\n"),
        (".TXT", b"\xef\xbb\xbfa\nb\n"),
    ],
)
def test_text_is_read_packed_or_not(
    tmp_path: Path, ending: str, content: bytes, packing: str
) -> None:
    (tmp_path / f"p{ending}{packing}").write_bytes(PACK[packing](content))
    assert prompts_of(tmp_path) == ["a", "b"]
    assert prompts_of(tmp_path / f"p{ending}{packing}", rows_per_part=1) == ["a", "b"]


def test_a_packed_file_of_several_pieces_is_read_whole(tmp_path: Path) -> None:
    """As `cat a.gz b.gz` and parallel packers make them."""
    (tmp_path / "p.txt.gz").write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n"))
    assert prompts_of(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_arrow_files_are_read(tmp_path: Path, compression: str) -> None:
    table = pa.table({"prompt": ["a", "b", "c"], "x": pa.array([1, 2, None], pa.int8())})
    for ending in (".feather", ".arrow"):
        file = tmp_path / f"p{ending}"
        pyarrow.feather.write_feather(table, str(file), compression=compression, chunksize=2)
        (part,) = read(file).parts()
        assert part.table == table
        assert prompts_of(file, rows_per_part=2) == ["a", "b", "c"]
        file.unlink()


def test_the_cache_of_datasets_is_read(tmp_path: Path) -> None:
    """A stream of Arrow, with two files of JSON beside it."""
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"prompt": ["a", "b"]}).save_to_disk(str(tmp_path / "d"))
    assert prompts_of(tmp_path / "d") == ["a", "b"]


def test_a_broken_arrow_file_is_refused(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a" * 50, "b"]})
    pyarrow.feather.write_feather(table, str(tmp_path / "p.arrow"), compression="uncompressed")
    content = (tmp_path / "p.arrow").read_bytes()
    (tmp_path / "p.arrow").write_bytes(content[:-20])
    assert "p.arrow: cannot be read" in refusal(tmp_path)
    offsets = content.index(b"\0\0\0\0\x32\0\0\0")
    (tmp_path / "p.arrow").write_bytes(
        content[: offsets + 4] + b"\xff\xff\xff\x7f" + content[offsets + 8 :]
    )
    with pytest.raises(InputError, match="cannot be read"):
        prompts_of(tmp_path)


def test_what_looks_like_data_is_read_or_named(tmp_path: Path) -> None:
    """One of three was read, and the job was done."""
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\n')
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "b"}\n'))
    (tmp_path / "c.json").write_text('[{"prompt": "c"}]\n')
    assert prompts_of(tmp_path) == ["a", "b", "c"]
    for stranger in ("d.xlsx", "e.parquet.gz", "sub/f.zip"):
        file = tmp_path / stranger
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
        assert f"may be data and is not read: {stranger}" in refusal(tmp_path)
        assert prompts_of(f"{tmp_path}/*.json*") == ["a", "b", "c"], "named by a glob"
        file.unlink()
    (tmp_path / "d.csv").write_text("prompt\nd\n")
    assert "several formats, such as a.jsonl, d.csv" in refusal(tmp_path)


@pytest.mark.parametrize(
    "stranger",
    ["_SUCCESS", ".DS_Store", "_metadata.parquet", ".p.txt.crc", "README.md", "LICENSE", "a.png"],
)
def test_what_other_tools_leave_is_no_data(tmp_path: Path, stranger: str) -> None:
    (tmp_path / "p.txt").write_text("a\n")
    (tmp_path / stranger).write_bytes(b"x")
    for place in (str(tmp_path), f"{tmp_path}/*", f"{tmp_path}/**"):
        assert prompts_of(place) == ["a"]


def test_a_glob_that_names_an_underscore_means_it(tmp_path: Path) -> None:
    (tmp_path / "_p.txt").write_text("a\n")
    assert prompts_of(f"{tmp_path}/_*.txt") == ["a"]


@pytest.mark.parametrize("pattern", ["in", "in/**/*.txt", "in/**", "in/m*/*.txt"])
def test_links_are_followed_and_each_real_file_is_read_once(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/b.txt").write_text("b\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("a\n")
    (tmp_path / "in/more").symlink_to("../real")
    (tmp_path / "in/morez").symlink_to("../real")
    (tmp_path / "in/z.txt").symlink_to("a.txt")
    (tmp_path / "in/back").symlink_to(".")
    (tmp_path / "in/home").symlink_to("..")
    assert prompts_of(f"{tmp_path}/{pattern}") == (["b"] if "m*" in pattern else ["a", "b"])


def test_numbered_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 9, 10, 11, 100):
        (tmp_path / f"p{number}.txt").write_text(f"{number}\n")
    expected = ["1", "2", "9", "10", "11", "100"]
    assert prompts_of(tmp_path) == expected
    assert prompts_of(f"{tmp_path}/p*.txt") == expected


@given(st.lists(st.text("ab01/", min_size=1, max_size=6), max_size=8))
def test_the_natural_order_is_one(names: list[str]) -> None:
    """Any two names can be compared, and padded numbers are in the order that they had."""
    once = sorted(names, key=natural)
    assert [natural(name) for name in once] == sorted(map(natural, names))
    padded = [f"p{number:03d}" for number in range(20)]
    assert sorted(padded, key=natural) == padded


@pytest.mark.parametrize("pattern", ["run[1]", "run[1]/*.txt", "run[1]/**/*.txt", "run[1]/p.txt"])
def test_a_bracket_that_is_in_a_name_is_one(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "run[1]").mkdir()
    (tmp_path / "run[1]/p.txt").write_text("a\n")
    assert prompts_of(f"{tmp_path}/{pattern}") == ["a"]


def test_a_glob_without_a_file_says_how_a_bracket_is_written(tmp_path: Path) -> None:
    (tmp_path / "run[1]x").mkdir()
    (tmp_path / "run[1]x/p.txt").write_text("a\n")
    assert "a bracket itself is written [[]" in refusal(f"{tmp_path}/run[1]*/p.txt")
    assert prompts_of(f"{tmp_path}/run[[]1]*/p.txt") == ["a"]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def _zip(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "z", "w") as archive:
        archive.writestr("p.csv", "prompt\na\n")
    content = (folder / "z").read_bytes()
    (folder / "z").unlink()
    return content


@pytest.mark.parametrize("ending", ["txt", "csv", "tsv", "jsonl", "json", "parquet", "arrow"])
def test_a_disguise_is_told(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"p.{ending}"
    packed, archive = gzip.compress(LINES), _zip(tmp_path)
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "q")
    parquet = (tmp_path / "q").read_bytes()
    (tmp_path / "q").unlink()
    cases = [
        (POINTER, "is a pointer of Git LFS: .* Run `git lfs pull`"),
        (packed, r"is packed with gzip, .* Rename it to end in \.gz"),
        (zstd(LINES), r"is packed with Zstandard, .* Rename it to end in \.zst"),
        (archive, "is a ZIP archive"),
        (b"/annex/objects/SHA256E-s3--00.csv\n", "of git-annex: .* Run `git annex get`"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<p>Not found", "is an HTML page"),
        (b"<HTML><body>", "is an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "is XML"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"{\\rtf1\\ansi a red circle}", "is an RTF document"),
    ]
    if ending != "parquet":
        cases.append((parquet, r"is a Parquet file\. Rename it"))
    for content, said in cases:
        file.write_bytes(content)
        with pytest.raises(InputError, match=said):
            prompts_of(file)


UTF16 = [
    "prompt\na red circle\n".encode(one) for one in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
]
CHINESE = "提示\n红色的圆\n".encode("utf-16-le")
"""Its first two bytes hold no zero."""


@pytest.mark.parametrize("ending", ["txt", "csv", "tsv", "jsonl", "json"])
@pytest.mark.parametrize("packing", [".gz", ".zst", ".bz2"])
def test_what_is_packed_is_looked_at_unpacked(tmp_path: Path, ending: str, packing: str) -> None:
    """It was said to be Latin-1, or was drawn."""
    file = tmp_path / f"p.{ending}{packing}"
    cases = [(content, "is UTF-16 or UTF-32, not UTF-8") for content in (*UTF16, CHINESE)]
    cases += [
        (gzip.compress(LINES), "is packed twice: gzip is in it. Unpack it once"),
        (zstd(LINES), "is packed twice: Zstandard is in it"),
        (POINTER, "is a pointer of Git LFS"),
        (b"<html>", "is an HTML page"),
        (b"PAR1", "is a Parquet file"),
    ]
    for content, said in cases:
        file.write_bytes(PACK[packing](content))
        assert said in refusal(file)


def test_utf16_without_a_mark_is_told_in_any_script(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(CHINESE)
    assert "is UTF-16 or UTF-32, not UTF-8" in refusal(tmp_path)


def test_a_packing_under_anothers_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.csv.gz").write_bytes(zstd(b"prompt\na\n"))
    assert "is packed with Zstandard, and its name says gzip. Rename it" in refusal(tmp_path)


def test_a_frame_that_is_skipped_is_part_of_a_packed_file(tmp_path: Path) -> None:
    """pzstd writes one before each piece."""
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0size"
    (tmp_path / "p.txt.zst").write_bytes(skipped + zstd(b"a\n") + skipped + zstd(b"b\n"))
    assert prompts_of(tmp_path) == ["a", "b"]
    (tmp_path / "p.txt.zst").rename(tmp_path / "p.txt")
    assert "is packed with Zstandard, and its name does not say so" in refusal(tmp_path)


def test_a_file_that_is_not_packed_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl.gz").write_bytes(LINES)
    assert "is not packed, and its name says so" in refusal(tmp_path)


def test_a_damaged_packed_file_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"prompt %d\n" % n for n in range(5000)))
    (tmp_path / "p.txt.gz").write_bytes(whole[: len(whole) // 2])
    assert "p.txt.gz: cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("packing", [".gz", ".zst", ".bz2"])
def test_a_small_file_that_unpacks_to_very_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    monkeypatch.setattr(unpacked, "FREELY_UNPACKED_BYTES", 2**20)
    monkeypatch.setattr(unpacked, "MAX_UNPACKING", 10)
    (tmp_path / f"p.txt{packing}").write_bytes(PACK[packing](b"aaaaaaa\n" * 2**18))
    assert "unpacks to more than 10 times as much" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"prompt": "a"}, 5]', "element 2 is a JSON int, not an object"),
        ('[{"prompt": "a"}', "is no array of JSON"),
        ('[{"prompt": "a", "prompt": "b"}]', "it names 'prompt' twice"),
        ('[{"prompt": "a", "n": 1}, {"prompt": "b", "n": "x"}]', "does not fit"),
        ("[]", "is empty"),
        ("[" * 100_000, "is no array of JSON"),
    ],
)
def test_a_broken_array_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "p.json").write_text(content)
    assert said in refusal(tmp_path)


def test_the_output_of_a_job_is_read_as_its_dataset(tmp_path: Path) -> None:
    (tmp_path / "out/records").mkdir(parents=True)
    (tmp_path / "out/data/00000").mkdir(parents=True)
    (tmp_path / "out/job.json").write_text("{}")
    (tmp_path / "out/records/part-00000000.json").write_text("{}")
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "out/data/00000/part-00000000.parquet")
    assert prompts_of(tmp_path / "out") == ["a"]


def test_lines_of_several_files_have_one_schema(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "note": null}\n')
    (tmp_path / "b.json").write_text(json.dumps([{"prompt": "b", "note": "x"}]))
    (part,) = read(tmp_path).parts()
    assert part.table.to_pylist() == [
        {"prompt": "a", "note": None},
        {"prompt": "b", "note": "x"},
    ]
