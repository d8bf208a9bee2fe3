"""The output folder: nobody else's is written to."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.errors import OutputError
from jobs.output.atomic import tag
from jobs.output.folder import OutputFolder
from jobs.spec.job_spec import make_spec
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


def test_files_that_go_while_the_folder_is_listed_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another driver writes there: its temporary files are renamed, its broken parts redone."""
    folder = OutputFolder(tmp_path)
    for place in ("data", "records"):
        (tmp_path / place).mkdir()
    folder.record_file(0).write_text("{}")
    folder.part_file(0).write_bytes(b"x")
    names = (".part-1.tmp", "part-gone.parquet", folder.part_file(0).name)
    listed = [SimpleNamespace(name=name, stat=(tmp_path / "data" / name).stat) for name in names]
    monkeypatch.setattr("os.scandir", lambda _path: nullcontext(listed))
    assert folder._part_sizes() == {folder.part_file(0).name: 1}
    assert folder.records() == {}


def test_a_moved_folder_gives_its_job_back_with_its_new_place(tmp_path: Path) -> None:
    spec = make_spec({"input": "p.csv", "output": "elsewhere", "models": "shapes"})
    folder = OutputFolder(tmp_path)
    folder.write_job(job_file(spec), replace=False)
    assert folder.read_spec() == spec.model_copy(update={"output": str(tmp_path)})
