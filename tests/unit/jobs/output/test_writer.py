"""Writing parts: whole, the same bytes, pictures that other programs see."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.errors import OutputFailedError
from actors.roles import ROLES
from jobs.output.columns import ROW_GROUP_ROWS, RowResult
from jobs.output.encode import encode
from jobs.output.folder import OutputFolder
from jobs.output.pages.contact_sheet import make_sheet
from jobs.output.writer import write_part
from jobs.parquet_writing import Hashed
from jobs.spec.job_spec import make_spec
from jobs.spec.picture_formats import PNG
from tests.outputs import part_file
from tests.unit.jobs.job_files import job_file

PICTURES = np.random.default_rng(0).integers(0, 255, (3, 16, 24, 3), dtype=np.uint8)
TABLE = pa.table({"id": ["a", "b", "c"], "prompt": ["one", "two", "three"]})


def result(row: int, error: str | None = None) -> RowResult:
    return RowResult(
        seed=row,
        student_score=0.5,
        teacher_score=None,
        source=None if error else "student",
        nfe=4,
        truncated=row == 1,
        error=error,
        image=None if error else (0, row),
        student_image=None,
    )


def write(folder: OutputFolder, seconds: float = 1.0) -> dict[str, object]:
    files, _ = encode([(0, row) for row in range(3)], PNG, PICTURES)
    results = [result(0), result(1), result(2, error="too bad")]
    return write_part(
        folder, 0, 0, TABLE, results, "png", False, {"seconds": {"student": seconds}}, files
    )


def test_a_part_has_the_inputs_columns_and_ours(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    record = write(folder)
    table = pq.read_table(part_file(folder, 0))
    assert table.column_names == [
        *["id", "prompt", "image", "seed", "student_score", "teacher_score", "source", "nfe"],
        *["truncated", "status", "error"],
    ]
    assert table["truncated"].to_pylist() == [False, True, False]
    assert table["status"].to_pylist() == ["ok", "ok", "failed"]
    assert table["error"].to_pylist() == [None, None, "too bad"]
    assert table["image"][2].as_py() is None
    stored = Image.open(BytesIO(table["image"][1].as_py()["bytes"]))
    assert np.array_equal(np.asarray(stored), PICTURES[1])
    assert folder.records() == {0: record}


def test_a_part_written_twice_has_the_same_bytes_and_another_record(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    first = write(folder, seconds=1.0)
    content = part_file(folder, 0).read_bytes()
    second = write(folder, seconds=2.0)
    assert part_file(folder, 0).read_bytes() == content
    assert first["sha256"] == second["sha256"]
    assert first != second


def test_a_record_without_its_whole_part_does_not_count(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    write(folder)
    whole = part_file(folder, 0).read_bytes()
    part_file(folder, 0).write_bytes(whole[:-1])
    assert folder.records() == {}
    part_file(folder, 0).unlink()
    assert folder.records() == {}


def test_the_inputs_own_features_for_datasets_are_kept(tmp_path: Path) -> None:
    features = {"photo": {"_type": "Image"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = TABLE.replace_schema_metadata(metadata)
    files, _ = encode([(0, row) for row in range(3)], PNG, PICTURES)
    folder = OutputFolder(tmp_path)
    write_part(folder, 0, 0, table, [result(n) for n in range(3)], "png", True, {}, files)
    written = pq.read_schema(part_file(folder, 0)).metadata
    assert set(json.loads(written[b"huggingface"])["info"]["features"]) == {
        *("photo", "image", "student_image"),
    }


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = OutputFolder(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputFailedError, match="has no room left"):
        write(folder)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_part_is_written_without_a_copy_of_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a part of a thousand pictures of 2 MB would take gigabytes beside the pictures."""
    num_rows, picture = 10 * ROW_GROUP_ROWS, b"x" * 20_000
    table = pa.table({"prompt": [str(row) for row in range(num_rows)]})
    results = [result(row) for row in range(num_rows)]
    files = pa.array([picture] * num_rows, pa.binary())
    before, held = pa.total_allocated_bytes(), list[int]()
    write = Hashed.write

    def watched(self: Hashed, content: bytes) -> int:
        held.append(pa.total_allocated_bytes() - before)
        return write(self, content)

    monkeypatch.setattr(Hashed, "write", watched)
    folder = OutputFolder(tmp_path)
    record = write_part(folder, 0, 0, table, results, "png", False, {}, files)
    # Parquet holds a page or two, of 1 MB each.
    assert max(held) < 0.15 * num_rows * len(picture)
    assert record["bytes"] == part_file(folder, 0).stat().st_size > num_rows * len(picture)
    with pq.ParquetFile(part_file(folder, 0)) as parquet:
        assert parquet.num_row_groups == 10
        paths = [image["path"] for image in parquet.read()["image"].to_pylist()]
    assert paths == [f"{row:012d}.png" for row in range(num_rows)]


def test_row_groups_end_by_bytes_too_also_those_of_the_inputs_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.output.row_groups.ROW_GROUP_BYTES", 1_000)
    sizes, given = [300, 300, 500, 1_500, 100, 100, 100], [0, 0, 0, 0, 900, 0, 0]
    table = pa.table({"prompt": ["x" * size for size in given]})
    files = pa.array([bytes(size) for size in sizes])
    folder = OutputFolder(tmp_path)
    results = [result(row) for row in range(len(sizes))]
    write_part(folder, 0, 0, table, results, "png", False, {}, files)
    with pq.ParquetFile(part_file(folder, 0)) as parquet:
        groups = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
        assert parquet.read()["image"].to_pylist() == [
            {"bytes": bytes(size), "path": f"{row:012d}.png"} for row, size in enumerate(sizes)
        ]
    # A row is never cut; one that is too large stands alone.
    assert groups == [2, 1, 1, 1, 2]


def test_the_bytes_do_not_depend_on_which_calls_made_the_files(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    pictures = [random.bytes(int(size)) for size in random.integers(10, 90_000, 240)]
    table = pa.table({"prompt": [str(row) for row in range(240)]})
    contents = []
    for size in (240, 16, 7):
        calls = [pa.array(pictures[n : n + size], pa.binary()) for n in range(0, 240, size)]
        results = [replace(result(row), image=divmod(row, size)) for row in range(240)]
        folder = OutputFolder(tmp_path / str(size))
        folder.path.mkdir()
        write_part(folder, 0, 0, table, results, "png", False, {}, *calls)
        contents.append(part_file(folder, 0).read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_a_change_of_one_picture_leaves_most_pages_as_they_were(tmp_path: Path) -> None:
    """So that a store that keeps equal pieces once, as the hub's does, gets only what changed."""
    random = np.random.default_rng(5)
    pictures = [random.bytes(30_000) for _ in range(100)]
    table = pa.table({"prompt": [str(row) for row in range(100)]})
    parts = []
    for first in (pictures[0], random.bytes(31_234)):
        folder = OutputFolder(tmp_path / str(len(parts)))
        folder.path.mkdir()
        files = pa.array([first, *pictures[1:]], pa.binary())
        results = [result(row) for row in range(100)]
        write_part(folder, 0, 0, table, results, "png", False, {}, files)
        parts.append(part_file(folder, 0))
        image = pq.ParquetFile(part_file(folder, 0)).metadata.row_group(0).column(1)
        assert (image.has_offset_index, image.statistics) == (True, None)
    pages = [_pages(file) for file in parts]
    assert len(pages[0]) > 4
    assert len(pages[0] - pages[1]) == 1


def _pages(file: Path) -> set[bytes]:
    """The contents of the pages of pictures, cut where Parquet's page headers are."""
    column = pq.ParquetFile(file).metadata.row_group(0).column(1)
    assert column.path_in_schema == "image.bytes"
    start = column.data_page_offset
    content = file.read_bytes()[start : start + column.total_compressed_size]
    # A value has its length in front; the 30,000 bytes of one are the smallest piece of a page.
    length = (30_000).to_bytes(4, "little")
    return {piece for piece in content.split(b"\x15\x00\x15") if length in piece}


def test_a_disk_that_fills_up_on_the_way_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow hands on what the file raised."""

    def full(self: Hashed, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Hashed, "write", full)
    with pytest.raises(OutputFailedError, match="has no room left"):
        write(OutputFolder(tmp_path))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_the_metadata_names_our_columns_of_pictures_for_datasets(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    write(folder)
    metadata = pq.read_schema(part_file(folder, 0)).metadata
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert features == {"image": {"_type": "Image"}}


def test_nothing_in_the_output_carries_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    url, secret = "s3://AKIA:wJalrXUtnFEMI/K7@bucket/p", "hf_abcdefghijkl"
    folder = OutputFolder(tmp_path / "out")
    folder.path.mkdir()
    job = {"name": url, "models": {"teacher": secret}, "storage": {"secret": "wJalr"}}
    folder.write_job(job, replace=False)
    files, _ = encode([(0, 0)], PNG, PICTURES)
    results = [result(0), result(1, error=f"no {url}"), result(2, error=f"401 {secret}")]
    record = write_part(
        folder, 0, 0, TABLE, results, "png", False, {"host": url, "said": secret}, files
    )
    folder.finish({"README.md": f"# {url} {secret}"})
    assert folder.records() == {0: record}
    for file in (f for f in folder.path.rglob("*") if f.is_file()):
        for leak in (b"wJalr", secret.encode()):
            assert leak not in file.read_bytes(), file
    errors = pq.read_table(part_file(folder, 0))["error"].to_pylist()
    assert errors == [None, "no s3://***@bucket/p", "401 ***"]


NASTY = ["../../etc/x", "/etc/passwd", "..\\..\\x"]


def test_names_from_the_input_never_become_paths(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "a" / "b" / "out")
    folder.path.parent.mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    folder.path.mkdir()
    table = pa.table({"id": NASTY, "prompt": NASTY, "path": NASTY})
    files, _ = encode([(0, row) for row in range(3)], PNG, PICTURES)
    results = [replace(result(row), student_image=(0, row)) for row in range(3)]
    spec = make_spec({"name": NASTY[0], "input": "p.csv", "output": "out", "models": "shapes"})
    folder.write_job(job_file(spec, models=dict.fromkeys(ROLES, NASTY[0])), replace=False)
    write_part(folder, 0, 0, table, results, "png", True, {}, files)
    folder.finish({"README.md": f"# {NASTY[0]}"})
    make_sheet(folder, folder.path / "sheet.png")
    outside = {p for p in tmp_path.rglob("*") if not p.is_relative_to(folder.path)}
    assert outside == before
    assert {p.relative_to(folder.path).as_posix() for p in folder.path.rglob("*")} == {
        *["data", "data/00000", folder.part_name(0)],
        *["records", "records/00000", folder.record_name(0)],
        *["job.json", "README.md", "_SUCCESS", "sheet.png"],
    }
    stored = pq.read_table(part_file(folder, 0))
    assert stored["id"].to_pylist() == NASTY
    for column in ("image", "student_image"):
        for path in (value["path"] for value in stored[column].to_pylist()):
            assert re.fullmatch(r"\d{12}(-student)?\.png", path)


@pytest.mark.parametrize("said", ["{", "null", '{"info": null}', '{"info": {"features": null}}'])
def test_metadata_that_nobody_can_read_is_none(tmp_path: Path, said: str) -> None:
    folder = OutputFolder(tmp_path)
    table = TABLE.replace_schema_metadata({"huggingface": said})
    files, _ = encode([(0, row) for row in range(3)], PNG, PICTURES)
    results = [result(row) for row in range(3)]
    write_part(folder, 0, 0, table, results, "png", False, {}, files)
    metadata = pq.read_schema(part_file(folder, 0)).metadata
    assert json.loads(metadata[b"huggingface"])["info"]["features"] == {"image": {"_type": "Image"}}
