"""What a head that takes no jobs is told as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.errors import ClusterError
from cluster.submission import ray_jobs
from cluster.submission.ray_jobs import RayJobs


class Refusing:
    """A client whose head answers every submission with an error."""

    def __init__(self, says: str) -> None:
        self.says = says

    def submit_job(self, **how: Any) -> str:
        raise RuntimeError(f"Request failed with status code 500: {self.says}")


def submit_to(client: Refusing, files: Path) -> str:
    """What the error says."""
    jobs = object.__new__(RayJobs)
    jobs.address = "http://head:8265"
    jobs._client = client  # type: ignore[assignment]
    with pytest.raises(ClusterError) as raised:
        jobs.submit("id", "true", files, {})
    return str(raised.value)


def test_a_head_without_an_agent_is_told_with_what_may_hold_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_jobs, "BEGIN_SECONDS", -1.0)
    says = "No available agent to submit job, please try again later.."
    told = submit_to(Refusing(says), tmp_path)
    assert "its dashboard agent does not run" in told
    assert "52365" in told
    assert "--dashboard-agent-listen-port" in told


def test_another_error_of_the_head_is_told_with_one_full_stop(tmp_path: Path) -> None:
    assert submit_to(Refusing("no room.."), tmp_path).endswith("status code 500: no room.")
