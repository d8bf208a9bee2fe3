"""Jobs that ask for two pretended GPUs, which join later, or are not theirs alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.output.folder import OutputFolder
from jobs.output.verify import verify
from tests.cluster.conftest import hashes
from tests.cluster.shared_gpus import JOBS

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(500)
def test_jobs_that_wait_for_gpus_or_share_them_end_with_the_same_bytes(tmp_path: Path) -> None:
    """Before, the first ran on cores; the others kept a student's GPU, and waited for ever."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.cluster.shared_gpus", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=480, check=False,
    )  # fmt: skip
    logs = {name: (tmp_path / f"{name}.log").read_text() for name in JOBS}
    assert ran.returncode == 0, "\n".join([*logs.values(), ran.stderr[-2000:]])
    assert "teacher: 1 actor (set in the job file: 1)" in logs["early"]
    assert "2 GPUs" not in logs["early"].splitlines()[1], "they joined later"
    assert "waiting for 1 GPU: 1 of 2 are in use by others" in logs["beside"]
    assert "teacher: actors for the calls that are left" in logs["beside"]
    assert len(hashes(tmp_path / "beside")) == 4
    for name in JOBS:
        assert list(verify(OutputFolder(tmp_path / name))) == []
        assert hashes(tmp_path / name) == hashes(tmp_path / "beside")
