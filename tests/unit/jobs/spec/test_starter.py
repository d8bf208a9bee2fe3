"""The job file of `bottega init` is one, for every preset, and tells of every field."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.models.presets import CATALOGUE
from jobs.spec.job_spec import JobSpec, load_spec, make_spec
from jobs.spec.starter import WIDTH, starter


@pytest.mark.parametrize("preset", CATALOGUE)
def test_it_is_a_job_file_with_the_presets_own_settings(tmp_path: Path, preset: str) -> None:
    (tmp_path / "job.yaml").write_text(starter(preset))
    spec = load_spec(tmp_path / "job.yaml")
    task = {"task": spec.task, "image_column": spec.image_column}
    own = {"input": "prompts.csv", "output": "out/my-job", "name": "my-job", "models": preset}
    assert spec == make_spec({**own, **task, "budget": {"refine": 0.3}})


def test_every_field_is_there_once_with_its_default() -> None:
    lines = starter("shapes").splitlines()
    named = [line.removeprefix("# ").partition(":")[0] for line in lines if ": " in line]
    for name in JobSpec.model_fields:
        assert named.count(name) >= 1, name
    assert max(map(len, lines)) <= WIDTH + 20


def test_a_commented_field_can_be_taken_as_it_is(tmp_path: Path) -> None:
    """Without its `#` the job is the same one."""
    whole = starter("shapes")
    file = tmp_path / "job.yaml"
    file.write_text(whole)
    before = load_spec(file)
    for name in ("prompt_column", "task", "draws", "max_failed", "image_format", "pools"):
        assert f"\n# {name}: " in whole, name
        file.write_text(whole.replace(f"\n# {name}: ", f"\n{name}: "))
        assert load_spec(file) == before, name
