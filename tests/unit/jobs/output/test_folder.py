"""The output folder: nobody else's is written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import OutputError
from jobs.output.folder import OutputFolder
from jobs.spec.job_spec import make_spec
from jobs.storage.owner import tag
from tests.unit.jobs.job_files import job_file


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


def test_a_moved_folder_gives_its_job_back_with_its_new_place(tmp_path: Path) -> None:
    spec = make_spec({"input": "p.csv", "output": "elsewhere", "models": "shapes"})
    folder = OutputFolder(tmp_path)
    folder.write_job(job_file(spec), replace=False)
    assert folder.read_spec() == spec.model_copy(update={"output": str(tmp_path)})
