"""Which job a name leads to, and waiting for jobs that there are not. Without a cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from actors.errors import ClusterError, NoSuchJobError
from cluster.cli.follow import follow_to_the_end
from cluster.submission.decision import RayStatus, Submission
from cluster.submission.find import find_job

RUN, SAMPLE, OTHER = (f"bottega-a-{digit * 10}" for digit in "012")


def submission(job: str, status: RayStatus = RayStatus.SUCCEEDED, work: str = "run") -> Submission:
    metadata = {"name": "a", "work": work}
    return Submission(submission_id=job, ray_status=status, metadata=metadata)


def cluster(*submissions: Submission) -> Any:
    """As `Connect` has it."""

    def connect() -> Any:
        return SimpleNamespace(all=lambda: list(submissions))

    return SimpleNamespace(named=connect, cluster=connect)


def test_the_calibration_of_a_job_gives_way_to_it() -> None:
    sample = submission(SAMPLE, work="calibrate")
    both = cluster(submission(RUN), sample).cluster
    assert find_job("a", both, None).id == RUN
    assert find_job(SAMPLE, both, None).id == SAMPLE
    assert find_job("a", cluster(sample).cluster, None).id == SAMPLE


def test_who_waits_for_a_job_that_there_is_not_is_told_at_once() -> None:
    """And not when those before it have ended."""
    running = submission(RUN, RayStatus.RUNNING)
    with pytest.raises(NoSuchJobError, match="'nope'"):
        follow_to_the_end([RUN, "nope"], cluster(running), None, False, False)


def test_who_waits_where_no_cluster_is_is_told_at_once() -> None:
    def nobody() -> Any:
        raise ClusterError("no cluster answers.")

    with pytest.raises(ClusterError, match="no cluster answers"):
        follow_to_the_end([RUN], SimpleNamespace(named=nobody, cluster=nobody), "5s", False, False)  # type: ignore[arg-type]


def test_the_time_to_wait_is_that_of_all_jobs_together(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float | None] = []

    def follow(look: Any, show: Any, seconds: float | None) -> Any:
        given.append(seconds)
        clock.now += 4.0
        return look()

    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("cluster.cli.follow.follow", follow)
    monkeypatch.setattr("cluster.cli.follow.time.monotonic", lambda: clock.now)
    jobs = cluster(submission(RUN), submission(OTHER))
    follow_to_the_end([RUN, OTHER, RUN], jobs, "5s", False, False)
    assert given == [5.0, 1.0, 0.0]
