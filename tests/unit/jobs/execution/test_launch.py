"""Where a job gets its Ray from, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from actors.errors import ClusterError, OutputError
from jobs.execution import launch
from jobs.execution.launch import calibrate, retry, run
from jobs.execution.resources import Resources
from jobs.resolution import Job
from tests.unit.jobs.local import LocalDispatcher, local_job, write_prompts

HAVE = Resources(cpus=4, gpus=0)


class Session:
    """A context manager that counts."""

    def __init__(self) -> None:
        self.entered = self.left = 0

    def __enter__(self) -> Resources:
        self.entered += 1
        return HAVE

    def __exit__(self, *_: object) -> None:
        self.left += 1


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """10 rows, carried out on the spot."""

    def make(job: Job, have: Resources, should_stop: Callable[[], bool]) -> Any:
        assert have is HAVE
        return LocalDispatcher(job)

    monkeypatch.setattr(launch, "dispatcher_on_ray", make)
    return local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")


def test_a_session_is_entered_once_and_left_at_the_end(job: Job) -> None:
    session = Session()
    assert run(job, session=session).done_rows == 10
    assert (session.entered, session.left) == (1, 1)


def test_a_job_that_is_done_needs_no_ray(job: Job) -> None:
    run(job, session=Session())
    session = Session()
    assert run(job, session=session).resumed_rows == 10
    assert retry(job, session=session).failed_rows == 0
    assert session.entered == 0
    assert run(job).resumed_rows == 10


def test_what_is_wrong_with_the_output_is_refused_before_ray_starts(job: Job) -> None:
    job.output.path.mkdir()
    (job.output.path / "thesis.txt").touch()
    session = Session()
    with pytest.raises(OutputError, match="not ours to write to"):
        run(job, session=session)
    assert session.entered == 0


def test_a_session_is_left_when_the_job_fails(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalDispatcher, "wait", lambda *_, **__: 1 / 0)
    session = Session()
    with pytest.raises(ZeroDivisionError):
        run(job, session=session)
    assert (session.entered, session.left) == (1, 1)


@pytest.mark.parametrize("verb", [run, calibrate])
def test_without_a_ray_the_refusal_says_how_to_have_one(
    verb: Callable[[Job], object], job: Job
) -> None:
    with pytest.raises(ClusterError, match=r"`ray\.init\(\)`.*`with cluster\.session\.ray_session"):
        verb(job)


def test_a_calibration_writes_nothing_and_says_what_each_threshold_refines(job: Job) -> None:
    sample = calibrate(job, session=Session())
    assert not job.output.path.exists()
    assert len(sample.scores) == 8
    assert list(sample.scores) == sorted(sample.scores)
    table = sample.table()
    assert [line.refine for line in table] == [tenth / 10 for tenth in range(11)]
    assert table[5].threshold == sample.threshold(0.5)
    assert sum(score < sample.threshold(0.5) for score in sample.scores) == 4


def test_every_observer_sees_how_the_job_stands(job: Job) -> None:
    seen: list[list[object]] = [[], []]
    run(job, session=Session(), observers=[seen[0].append, seen[1].append])
    assert seen[0] == seen[1] != []


def test_the_pools_are_those_of_the_resources(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")
    plans = launch.pools_for(job, Resources(cpus=16, gpus=4))
    dispatcher = launch.make_dispatcher(job, Mock(), plans, Resources(cpus=16, gpus=4))
    assert {name: pool.size for name, pool in dispatcher.pools.items()} == plans.sizes
    assert sum(plans.sizes.values()) > 4
