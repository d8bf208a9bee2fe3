"""Pictures in the input: as bytes, as paths, and as Hugging Face has them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.input.prompts import Part
from jobs.input.row_images import folder_of
from tests.unit.jobs.reading import only_part, refusal


def with_images(folder: Path, images: pa.Array) -> Path:
    file = folder / "p.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "picture": images}), file)
    return file


EDIT = {"task": "edit", "image_column": "picture"}


def images_of(part: Part) -> list[bytes | str | None]:
    """Of the rows that have one."""
    assert part.images is not None
    rows = range(part.table.num_rows)
    return [None if row in part.invalid_rows else part.images[row] for row in rows]


def test_pictures_come_as_bytes_as_paths_and_as_hugging_face_has_them(tmp_path: Path) -> None:
    here, elsewhere = str(tmp_path / "one.png"), "/data/two.png"
    raw = pa.array([b"1", None, b""])
    part = only_part(with_images(tmp_path, raw), **EDIT)
    assert images_of(part) == [b"1", None, None]
    assert part.invalid_rows == {1: "the picture is null", 2: "the picture is empty"}
    paths = pa.array(["one.png", elsewhere, "https://example.org/three.png"])
    part = only_part(with_images(tmp_path, paths), **EDIT)
    assert images_of(part) == [here, elsewhere, None]
    assert "List one in image_roots, or mount or copy it" in part.invalid_rows[2]
    odd = pa.array(["~lock.png", "a\0b", ""])
    part = only_part(with_images(tmp_path, odd), **EDIT)
    assert images_of(part) == [str(tmp_path / "~lock.png"), None, None]
    structs = pa.array(
        [
            {"bytes": b"1", "path": "one.png"},
            {"bytes": None, "path": "one.png"},
            {"bytes": None, "path": None},
        ],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    part = only_part(with_images(tmp_path, structs), **EDIT)
    assert images_of(part) == [b"1", here, None]
    assert part.invalid_rows == {2: "the picture is null"}
    assert part.table.column("picture").to_pylist()[0]["bytes"] == b"1", "it stays in the dataset"


def test_a_struct_of_other_things_holds_no_pictures(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.list_(pa.uint8())), ("path", pa.string())])
    error = refusal(with_images(tmp_path, pa.array([None] * 3, kind)), **EDIT)
    assert "and must hold bytes or paths of pictures" in error


def test_a_column_of_numbers_holds_no_pictures(tmp_path: Path) -> None:
    file = with_images(tmp_path, pa.array([1, 2, 3]))
    error = refusal(file, **EDIT)
    assert "image_column 'picture'" in error
    assert "holds int64, and must hold bytes or paths of pictures" in error
    assert "image_column 'image' is not in" in refusal(file, task="edit", image_column="image")


def test_without_a_task_a_row_has_no_picture(tmp_path: Path) -> None:
    assert only_part(with_images(tmp_path, pa.array([b"1", b"2", b"3"]))).images is None


def test_paths_are_relative_to_the_folder_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "p.csv").touch()
    for pattern in ("", "p.csv", "*.csv", "*/p.csv", "**/more/*.csv"):
        assert folder_of(str(tmp_path / pattern)) == str(tmp_path), pattern
    assert folder_of(str(tmp_path / "some/[a-z]/p.csv")) == str(tmp_path / "some")
    odd = tmp_path / "set[1]"
    odd.mkdir()
    (odd / "p.csv").touch()
    assert folder_of(str(odd / "p.csv")) == str(odd)
