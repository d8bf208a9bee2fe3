"""The output folder: nobody else's is written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import OutputError
from jobs.output.atomic import tag
from jobs.output.folder import OutputFolder


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="not ours"):
        OutputFolder(tmp_path).claim()
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_killed_driver_left_does_not_lock_its_folder(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    (tmp_path / f".job.json.{tag()}").write_text("{")
    folder.claim()
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(OutputError, match="not ours"):
        folder.claim()
