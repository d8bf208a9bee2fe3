"""Globs over objects' names mean what Python's `glob` means over files."""

from __future__ import annotations

from glob import glob
from pathlib import Path

import pytest

from jobs.input.globs import fixed_part, matches

NAMES = [
    *("a.csv", "b.parquet", "p-1.parquet", "p-2.parquet", "p-10.parquet", ".hidden.parquet"),
    *("sub/a.parquet", "sub/deep/b.parquet", "sub/.git/c.parquet", "sub/[x].parquet"),
]


@pytest.mark.parametrize(
    "pattern",
    [
        *("*", "*.parquet", "p-*.parquet", "p-[0-9].parquet", "p-[!1].parquet", "*/*.parquet"),
        *("**/*.parquet", "sub/**/*.parquet", "sub/**/b.parquet", "sub/*", "sub/[[]x].parquet"),
        *("*.csv", "s*b/a.*", "*/deep/*.parquet", "nothing*"),
    ],
)
def test_a_glob_takes_the_objects_that_it_would_take_as_files(tmp_path: Path, pattern: str) -> None:
    for name in NAMES:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    files = {
        Path(found).relative_to(tmp_path).as_posix()
        for found in glob(f"{tmp_path}/{pattern}", recursive=True)
        if Path(found).is_file()
    }
    assert {name for name in NAMES if matches(pattern, name)} == files


def test_a_url_is_listed_from_its_last_folder_without_a_glob() -> None:
    assert fixed_part("s3://bucket/a/b/*.csv") == ("s3://bucket/a/b", "*.csv")
    assert fixed_part("s3://bucket/a*/b/c.csv") == ("s3://bucket", "a*/b/c.csv")
    assert fixed_part("s3://bucket/a/b.csv") == ("s3://bucket/a/b.csv", "")
    assert fixed_part("hf://datasets/org/name/**/*.parquet") == (
        *("hf://datasets/org/name", "**/*.parquet"),
    )
