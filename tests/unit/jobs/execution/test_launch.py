"""Where a job gets its Ray from, and when."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from actors.errors import (
    ClusterError,
    InterruptedJobError,
    JobError,
    NoPlaceError,
    OutputError,
)
from actors.pool_settings import PoolsSettings
from jobs.execution import launch
from jobs.execution.kept_sample import kept_sample
from jobs.execution.launch import calibrate, retry, run
from jobs.execution.resources import Resources
from jobs.resolution import Job
from jobs.spec.sample import refined_interval
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

    def make(job: Job, have: Resources, should_stop: Callable[[], bool], *_: object) -> Any:
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


def test_a_run_takes_the_scores_of_a_calibration_that_was_kept(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bottega")
    sample = calibrate(job, session=Session(), keep=True)
    other_budget = local_job(Path(job.spec.input), tmp_path / "out", budget={"refine": 0.25})
    run(other_budget, session=Session())
    assert "the scores of 8 rows are those of `bottega calibrate`" in caplog.messages
    kept = json.loads((tmp_path / "out/job.json").read_text())
    assert kept["calibration"]["scores"] == list(sample.scores)
    measured = local_job(Path(job.spec.input), tmp_path / "other", budget={"refine": 0.25})
    run(measured, session=Session())
    assert measured.output.require_job()["threshold"] == kept["threshold"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda page: {**page, "key": "x"},
        lambda page: {**page, "scores": page["scores"][::-1]},
        lambda page: {**page, "scores": ["nan"]},
        lambda page: {**page, "scores": []},
        lambda page: {**page, "scores": page["scores"] * 2},
        lambda _: [],
    ],
)
def test_scores_of_another_job_or_broken_ones_are_not_taken(job: Job, damage: Any) -> None:
    calibrate(job, session=Session(), keep=True)
    assert kept_sample(job) is not None
    file = job.output.path / "calibration.json"
    file.write_text(json.dumps(damage(json.loads(file.read_text()))))
    assert kept_sample(job) is None
    other = local_job(Path(job.spec.input), job.output.path, seed=9)
    assert kept_sample(other) is None


def test_scores_of_pictures_of_another_size_are_not_taken(job: Job) -> None:
    """With a teacher that draws larger ones the student's are resized before they are scored; in a
    ladder without a teacher they are not, and nothing else in the job says so."""
    calibrate(job, session=Session(), keep=True)
    resized = replace(job, refinements=tuple(replace(r, size=(64, 64)) for r in job.refinements))
    assert kept_sample(resized) is None


@pytest.mark.parametrize("verb", [calibrate, run])
def test_a_sample_without_a_score_is_a_sentence(
    verb: Callable[..., object], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bottega calibrate` divided by the number of its rows, which was none."""
    broken = frozenset(f"picture {row}" for row in range(10))
    monkeypatch.setattr(launch, "dispatcher_on_ray", lambda job, *_: LocalDispatcher(job, broken))
    with pytest.raises(JobError, match="no row of the calibration sample could be drawn"):
        verb(job, session=Session())


def test_a_threshold_of_ones_own_is_told_what_it_refines(job: Job) -> None:
    sample = calibrate(job, session=Session())
    line = sample.refines(sample.threshold(0.5))
    assert (line.refine, line.interval) == (0.5, sample.table()[5].interval)
    assert sample.refines(1e9).refine == 1.0


def test_a_calibration_writes_nothing_and_says_what_each_threshold_refines(job: Job) -> None:
    sample = calibrate(job, session=Session())
    assert not job.output.path.exists()
    assert len(sample.scores) == 8
    assert list(sample.scores) == sorted(sample.scores)
    table = sample.table()
    assert [line.refine for line in table] == [tenth / 10 for tenth in range(11)]
    assert table[5].threshold == sample.threshold(0.5)
    assert sum(score < sample.threshold(0.5) for score in sample.scores) == 4
    # Of 10 rows, 8 are in the sample.
    assert table[5].interval == refined_interval(0.5, 8, 10)
    assert [table[0].interval, table[10].interval] == [(0.0, 0.0), (1.0, 1.0)]


def test_the_sample_is_by_the_size_of_the_job_unless_the_job_says(job: Job, tmp_path: Path) -> None:
    many = write_prompts(tmp_path / "many.csv", 30_000)
    assert local_job(many, tmp_path / "out").sample_size == 8
    assert local_job(many, tmp_path / "out", calibration_rows=None).sample_size == 300
    few = local_job(Path(job.spec.input), job.output.path, calibration_rows=None)
    assert len(calibrate(few, session=Session()).scores) == 10


def test_every_observer_sees_how_the_job_stands(job: Job) -> None:
    seen: list[list[object]] = [[], []]
    run(job, session=Session(), observers=[seen[0].append, seen[1].append])
    assert seen[0] == seen[1] != []


def with_devices(
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    gpus: list[float],
    alone: bool = False,
    **fields: Any,
) -> Resources:
    """What the job begins with; `gpus`: how many there are at each look."""
    looks = iter(gpus)
    monkeypatch.setattr(launch, "sleep", lambda _seconds: None)
    monkeypatch.setattr(Resources, "of_ray", lambda: Resources(4, next(looks), alone=alone))
    large = replace(job, weight_bytes=5_100_000_000)
    if fields:
        large = replace(large, spec=large.spec.model_copy(update=fields))
    return launch.with_its_devices(large, Resources.of_ray(), lambda: next(stops, False))


stops: Iterator[bool] = iter(())


def test_large_models_wait_for_a_node_with_gpus(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They were planned on cores without a word."""
    assert with_devices(job, monkeypatch, [0, 0, 0, 2]).gpus == 2
    assert caplog.text.count("waiting for GPUs: the cluster has none now, and the models") == 1
    assert "(5.1 GB)" in caplog.text


def test_large_models_are_refused_where_no_node_can_join(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ClusterError, match=r"this machine has none.*`pools: {device: cpu}`"):
        with_devices(job, monkeypatch, [0], alone=True)
    on_cores = {"pools": PoolsSettings(device="cpu")}
    assert with_devices(job, monkeypatch, [0], alone=True, **on_cores).gpus == 0


def test_waiting_for_nodes_has_a_limit_and_can_be_stopped(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoPlaceError, match=r"no node with a GPU joined the cluster for 2 s"):
        with_devices(job, monkeypatch, [0] * 9, place_timeout_seconds=2.0)
    monkeypatch.setitem(globals(), "stops", iter([False, False, True]))
    with pytest.raises(InterruptedJobError, match="stopped while waiting for GPUs"):
        with_devices(job, monkeypatch, [0] * 9)


def test_the_pools_are_those_of_the_resources(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")
    plans = launch.pools_for(job, Resources(cpus=16, gpus=4))
    dispatcher = launch.make_dispatcher(job, Mock(), plans, Resources(cpus=16, gpus=4))
    assert {name: pool.size for name, pool in dispatcher.pools.items()} == plans.sizes
    assert sum(plans.sizes.values()) > 4


def test_an_actor_of_more_gpus_than_any_node_has_is_refused(tmp_path: Path) -> None:
    """Four of 3 + 3: there are enough in all, and Ray would never place it."""
    pools = PoolsSettings.model_validate({"oracle": {"gpus_per_actor": 4}})
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")
    job = replace(job, spec=job.spec.model_copy(update={"pools": pools}))
    with pytest.raises(ClusterError, match="4 GPUs has them on one node, and the largest node has"):
        launch.pools_for(job, Resources(cpus=16, gpus=6, node_gpus=3))
    launch.pools_for(job, Resources(cpus=16, gpus=8, node_gpus=4))
