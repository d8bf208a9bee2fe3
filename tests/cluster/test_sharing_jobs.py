"""Two and three jobs on the same pretended GPUs; one comes later and first, one is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.output.folder import OutputFolder
from jobs.output.verify import verify
from tests.cluster.conftest import hashes
from tests.cluster.sharing_jobs import TOGETHER

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_jobs_share_the_gpus_and_each_has_the_bytes_that_it_has_alone(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.cluster.sharing_jobs", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=580, check=False,
    )  # fmt: skip
    logs = {name: (tmp_path / f"{name}.log").read_text() for name in ("alone", *TOGETHER)}
    assert ran.returncode == 0, "\n".join([*logs.values(), ran.stderr[-2000:]])
    for name in TOGETHER:
        assert list(verify(OutputFolder(tmp_path / name))) == []
        assert hashes(tmp_path / name) == hashes(tmp_path / "alone")
    assert "are this job's" not in logs["alone"]
    assert "1 GPUs are this job's, shared with two, late (priority 5)" in logs["one"]
    assert "2 of 4 GPUs are this job's" in logs["late"]
