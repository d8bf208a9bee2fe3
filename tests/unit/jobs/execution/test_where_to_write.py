"""Any node writes to an object store or a shared folder; to another one the driver's alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.execution import ray_executor
from tests.unit.jobs.local import local_job, write_prompts


def test_only_a_folder_of_this_machine_is_written_here_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = SimpleNamespace(get_node_id=lambda: "0" * 56)
    monkeypatch.setattr("ray.get_runtime_context", lambda: here)
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out")
    pinned = ray_executor._where_to_write(job)
    assert (pinned.node_id, pinned.soft) == ("0" * 56, False)
    shared = local_job(tmp_path / "p.csv", tmp_path / "out", output_shared=True)
    assert ray_executor._where_to_write(shared) == "SPREAD"
    job = replace(job, spec=job.spec.model_copy(update={"output": "s3://bucket/out"}))
    assert ray_executor._where_to_write(job) == "SPREAD"
