"""What lies beside good files: read, known to be no data, or refused by its name."""

from __future__ import annotations

import logging
import os
import random
import re
from pathlib import Path

import pytest

from actors.errors import InputError, NoInputError
from jobs.input.discovery import _log_hidden, find_files
from jobs.input.formats import natural
from tests.unit.jobs.reading import read, refusal

PACKED = "Z lzma br sz snappy gzip zstd bz lzo xz lz4 7z rar zip zip.001 tgz tbz2 txz tzst"
TABLES = (
    "parq pqt ipc fea ftr jsonlines jl ldjson tab psv dat yaml geojson xlsx xlsm xlsb tfrecord "
    "tfrecords duckdb mdb accdb sas7bdat mat bson cbor safetensors numbers sqlite pkl npy orc sql"
)
UNREAD = [
    *(f"b.{ending}" for ending in TABLES.split()),
    *(f"b.csv.{ending}" for ending in f"{PACKED} bak old part crdownload 1 anything".split()),
    *("b.parquet.gz", "b.parquet.snappy", "part-00000", "prompts", "readme.csv.xz", "b.csv.dvc"),
]
NO_DATA = [
    *("README", "README.md", "README.txt", "readme.de.txt", "LICENSE.txt", "LICENSE-APACHE.txt"),
    *("LICENSE-2.0", "NOTICE", "requirements.txt", "CITATION.cff", "Makefile", "SHA256SUMS"),
    *("job.yaml", "make.py", "notes.pdf", "a.png", "deep/a.JPG", "a.csv.md5", "a.csv.sha256"),
    *("a.csv.lock", "a.csv.dvc", "run.log", "slurm-12.out", "Thumbs.db", "a.csv~", "sub_$folder$"),
    *(".git/HEAD", "_SUCCESS", "_delta_log/0.checkpoint", "dataset_info.json"),
]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder with one good file, `a.csv`."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("prompt\na\n")
    return tmp_path / "in"


def names(place: Path | str) -> list[str]:
    return [file.name for file in find_files(str(place))]


def both(folder: Path) -> tuple[str, str, str]:
    return str(folder), f"{folder}/*", f"{folder}/**"


@pytest.mark.parametrize("stranger", UNREAD)
def test_what_may_be_data_is_refused_by_its_name(good: Path, stranger: str) -> None:
    (good / stranger).write_bytes(b"x")
    for place in both(good):
        assert f"may be data and is not read: {stranger}. " in refusal(place)
    assert names(f"{good}/*.csv") == ["a.csv"], "a glob is an answer"


@pytest.mark.parametrize("stranger", NO_DATA)
def test_what_certainly_holds_no_rows_is_left_alone(good: Path, stranger: str) -> None:
    (good / stranger).parent.mkdir(exist_ok=True)
    (good / stranger).write_bytes(b"x")
    for place in both(good):
        assert names(place) == ["a.csv"]


def test_documents_are_no_prompts_unless_they_are_named(tmp_path: Path) -> None:
    for name in ("p.txt", "README.txt", "LICENSE.txt"):
        (tmp_path / name).write_text("a\n")
    for place in (*both(tmp_path), f"{tmp_path}/*.txt"):
        assert names(place) == ["p.txt"]
    for place in (str(tmp_path / "README.txt"), f"{tmp_path}/README*", f"{tmp_path}/README.t?t"):
        assert names(place) == ["README.txt"]


def test_a_copy_that_goes_by_another_name_is_read(good: Path) -> None:
    """As in the cache of the Hugging Face hub: snapshots of links to blobs without an ending."""
    (good / "blobs").mkdir()
    (good / "a.csv").rename(good / "blobs/0123abcd")
    (good / "a.csv").symlink_to("blobs/0123abcd")
    assert names(good) == ["a.csv"]


def test_what_is_neither_file_nor_folder_is_refused(good: Path) -> None:
    def gone(name: str) -> None:
        (good / name).symlink_to("/gone")

    def annexed(name: str) -> None:
        (good / name).symlink_to("../.git/annex/objects/Xf/9k/MD5E-s3--0.csv/MD5E-s3--0.csv")

    def circle(name: str) -> None:
        (good / name).symlink_to(name)

    cases = [
        (gone, "b.csv", "b.csv (a link to /gone, which is not there)"),
        (gone, "more", "more (a link to /gone, which is not there)"),
        (gone, "b.csv.gz", "b.csv.gz (a link to /gone, which is not there)"),
        (annexed, "b.csv", "run `git annex get` in its repository)"),
        (circle, "b.csv", "b.csv (a link that leads to itself)"),
        (lambda name: os.mkfifo(good / name), "b.csv", "b.csv (a pipe)"),
    ]
    for make, name, said in cases:
        make(name)
        for place in (*both(good), f"{good}/**/*.csv", *([f"{good}/*.csv*"] * ("csv" in name))):
            assert said in refusal(place)
        if "." in name:
            assert said.partition("(")[2].rstrip(")") in refusal(good / name), "given by itself"
        assert names(f"{good}/a*.csv") == ["a.csv"]
        (good / name).unlink()
    for name in ("b.png", "README", "_b.csv", ".b.csv"):
        gone(name)
    assert names(good) == ["a.csv"]


@pytest.mark.parametrize("pattern", ["", "/*.csv", "/sub/*.csv", "/a.csv", "/sub/a.csv"])
@pytest.mark.parametrize("target", ["/gone", "more"])
def test_a_link_on_the_way_is_named(good: Path, pattern: str, target: str) -> None:
    """With `missing_input: skip` the night would have had no news."""
    (good / "more").symlink_to(target)
    with pytest.raises(InputError, match="more' is a link") as refused:
        find_files(f"{good}/more{pattern}")
    assert not isinstance(refused.value, NoInputError)
    with pytest.raises(NoInputError):
        find_files(f"{good}/other{pattern}")


@pytest.mark.parametrize("pattern", ["*.csv", "*", "**/*.csv", "[ab].csv"])
def test_a_folder_that_is_called_as_data_is_no_silence(good: Path, pattern: str) -> None:
    """Spark writes a folder `b.csv`."""
    (good / "b.csv").mkdir()
    (good / "b.csv/part-00000").write_text("prompt\nb\n")
    (good / "b.csv/_SUCCESS").touch()
    assert "is not read: b.csv" in refusal(f"{good}/{pattern}")
    (good / "b.csv/part-00000").rename(good / "b.csv/part-00000.csv")
    assert names(good) == ["a.csv", "part-00000.csv"]
    assert names(f"{good}/**/*.csv") == ["a.csv", "part-00000.csv"]


def test_underscored_files_are_left_out_and_the_log_says_so_once(
    good: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("_b.csv", "_SUCCESS", ".c.csv", "__MACOSX"):
        (good / name).touch()
    _log_hidden.cache_clear()
    with caplog.at_level(logging.INFO, "bottega.job"):
        assert [names(good), names(good)] == [["a.csv"]] * 2
    (line,) = caplog.messages
    assert "_b.csv is left out, as names that begin with _ are hidden" in line
    assert names(f"{good}/_*.csv") == ["_b.csv"]


def test_a_file_with_two_hard_links_is_read_once(good: Path) -> None:
    os.link(good / "a.csv", good / "b.csv")
    for place in (*both(good), f"{good}/*.csv"):
        assert names(place) == ["a.csv"]
        assert read(place).num_rows == 1


def test_the_order_does_not_depend_on_how_a_folder_is_listed() -> None:
    """`p1` and `p01` have one number."""
    given = ["p1", "p01", "p001", "p2", "p10", "P1", "a/p1", "a/p01", "p1/a", "p01/a"]
    orders = set()
    for seed in range(20):
        mixed = given.copy()
        random.Random(seed).shuffle(mixed)
        orders.add(tuple(sorted(mixed, key=natural)))
    assert len(orders) == 1
    assert len({str(natural(name)) for name in given}) == len(given)


@pytest.mark.parametrize("names", [["_b.csv"], [".b.csv", "_a.csv"], [".x/b.csv"], ["__b.csv"]])
def test_an_input_of_hidden_files_alone_is_told_what_was_seen(
    tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("prompt\na\n")
    said = f"has no file but {', '.join(names)}, and names that begin with _ or . are hidden"
    with pytest.raises(NoInputError, match=re.escape(said)):
        find_files(str(tmp_path))
