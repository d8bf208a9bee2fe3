"""What a job's events come to as metrics. No Ray, no port, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from actors.errors import InterruptedJobError, StalledError
from cluster.metrics.catalogue import METRICS, Kind, Metric
from cluster.metrics.job_metrics import ACTOR_FAILURES, JobMetrics
from jobs import Progress, Resources
from jobs.events import (
    ActorDied,
    ActorReplaced,
    CallEnded,
    CallFailed,
    ErrorKind,
    StoreMeasured,
)
from jobs.execution.calls import Call
from jobs.execution.progress import PoolView
from jobs.execution.stages import Stage
from tests.unit.jobs.local import LocalDispatcher, local_job, retry, run, write_prompts

Values = dict[tuple[str, ...], float]


class DictSink:
    """Keeps each value by its metric's name and its labels' values, as Prometheus would."""

    def __init__(self) -> None:
        self.values: Values = {}
        self.observed: dict[tuple[str, ...], list[float]] = {}
        self.is_closed = False

    def declare(self, metric: Metric, labels: Mapping[str, str]) -> None:
        self.values.setdefault(self._key(metric, labels, Kind.COUNTER), 0.0)

    def count(self, metric: Metric, amount: float, labels: Mapping[str, str]) -> None:
        assert amount > 0
        key = self._key(metric, labels, Kind.COUNTER)
        self.values[key] = self.values.get(key, 0.0) + amount

    def set(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        self.values[self._key(metric, labels, Kind.GAUGE)] = value

    def observe(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        self.observed.setdefault(self._key(metric, labels, Kind.HISTOGRAM), []).append(value)

    def close(self) -> None:
        self.is_closed = True

    def of(self, name: str) -> Values:
        """The values of a metric, by its labels beside `job`."""
        found = {key[2:]: value for key, value in self.values.items() if key[0] == name}
        assert all(key[1] == "nightly" for key in self.values)
        return found

    @staticmethod
    def _key(metric: Metric, labels: Mapping[str, str], kind: Kind) -> tuple[str, ...]:
        assert metric.kind is kind
        assert tuple(labels) == metric.all_labels
        return (metric.name, *labels.values())


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def sink() -> DictSink:
    return DictSink()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(sink: DictSink, clock: Clock) -> JobMetrics:
    return JobMetrics("nightly", [sink], clock, clock)


def observed(job: Any, metrics: JobMetrics, **broken: Any) -> LocalDispatcher:
    dispatcher = LocalDispatcher(job, **broken)
    dispatcher.observers.add(metrics)
    return dispatcher


def test_rows_are_counted_by_what_became_of_them_and_a_retry_counts_what_it_draws(
    tmp_path: Path, sink: DictSink, metrics: JobMetrics, clock: Clock
) -> None:
    job = local_job(write_prompts(tmp_path / "in.csv", 30), tmp_path / "out", max_failed=5)
    refined = {"picture 3", "picture 8", "picture 20"}
    run(job, observed(job, metrics, broken=frozenset({"picture 7"}), not_finite=frozenset(refined)))
    records = job.output.records().values()
    found = sink.of("bottega_rows_total")
    unrefinable = sum(record.get("kept_after_failed_refinement", 0) for record in records)
    assert unrefinable
    assert found == {
        ("accepted",): sum(r["rows"] - r["refined"] - r["failed"] for r in records) - unrefinable,
        ("refined",): sum(r["refined"] for r in records),
        ("unrefinable",): unrefinable,
        ("failed",): 1,
    }
    assert sum(found.values()) == 30

    again = DictSink()
    retry(job, observed(job, JobMetrics("nightly", [again], clock, clock)))
    assert sum(again.of("bottega_rows_total").values()) == 1
    assert ("failed",) not in again.of("bottega_rows_total")


def test_rows_are_counted_by_the_rungs_that_they_took(
    tmp_path: Path, sink: DictSink, metrics: JobMetrics
) -> None:
    ladder = [
        {"draw": 2, "until": 0.9},
        {"refine": {"strength": 0.6, "steps": 3}, "below": 0.9},
        {"regenerate": {"steps": 3}, "below": 0.9, "keep": "best"},
    ]
    job = local_job(write_prompts(tmp_path / "in.csv", 30), tmp_path / "out", ladder=ladder)
    run(job, observed(job, metrics))
    records = job.output.records().values()
    taken = [sum(each) for each in zip(*(record["rungs"] for record in records), strict=True)]
    makes = ("draw", "draw", "refine", "regenerate")
    assert all(taken)
    assert sink.of("bottega_rung_rows_total") == {
        (str(number), make): rows
        for number, (make, rows) in enumerate(zip(makes, taken, strict=True), 1)
    }


PROGRESS = Progress(
    num_rows=1000, done_rows=500, resumed_rows=100, failed_rows=20, judged_rows=400,
    rejected_rows=100, refined_rows=60, parts_done=5, num_parts=10, elapsed_seconds=30.0,
    pools=[
        PoolView("student", size=2, ready=1, busy=1, queued=4, waiting=1, gpus=1.0),
        PoolView("teacher", size=3, ready=3, busy=2, queued=9, leaving=1, gpus=4.0),
    ],
)  # fmt: skip


def test_a_progress_sets_rows_parts_pools_and_the_rejected_fraction(
    sink: DictSink, metrics: JobMetrics, clock: Clock
) -> None:
    metrics(PROGRESS)
    assert sink.of("bottega_job_rows") == {("done",): 480, ("failed",): 20, ("left",): 500}
    assert sink.of("bottega_job_parts") == {("done",): 5, ("left",): 5}
    assert sink.of("bottega_queued_calls") == {("student",): 4, ("teacher",): 9}
    actors = sink.of("bottega_pool_actors")
    assert [actors["student", s] for s in ("wanted", "ready", "busy", "waiting")] == [2, 1, 1, 1]
    assert actors["teacher", "leaving"] == 1
    low = sink.of("bottega_rejected_fraction_low")[()]
    high = sink.of("bottega_rejected_fraction_high")[()]
    assert sink.of("bottega_rejected_fraction") == {(): 0.25}
    assert 0.20 < low < 0.25 < high < 0.30
    assert sink.of("bottega_heartbeat_timestamp_seconds") == {(): 1000.0}


def test_a_sample_that_is_drawn_first_has_pools_and_no_rows(
    sink: DictSink, metrics: JobMetrics
) -> None:
    metrics(Progress.of_calibration(256, PROGRESS.pools))
    assert sink.of("bottega_pool_actors")
    assert not sink.of("bottega_job_rows")


def test_gpu_seconds_are_the_gpus_held_times_the_time_between_two_looks(
    sink: DictSink, metrics: JobMetrics, clock: Clock
) -> None:
    metrics(PROGRESS)
    assert not sink.of("bottega_gpu_seconds_total"), "nobody knows what was held before"
    clock.now += 2.5
    metrics(PROGRESS)
    assert sink.of("bottega_gpu_seconds_total") == {("student",): 2.5, ("teacher",): 10.0}


def test_the_plan_is_what_was_foreseen_first(sink: DictSink, metrics: JobMetrics) -> None:
    metrics(PROGRESS)
    assert not sink.of("bottega_time_left_seconds"), "not known yet"
    for elapsed, left in ((40.0, 60.0), (50.0, 90.0)):
        metrics(_with(elapsed_seconds=elapsed, seconds_left=left))
    assert sink.of("bottega_planned_seconds") == {(): 100.0}
    assert sink.of("bottega_time_left_seconds") == {(): 90.0}
    assert sink.of("bottega_elapsed_seconds") == {(): 50.0}


def _with(**fields: Any) -> Progress:
    from dataclasses import replace

    return replace(PROGRESS, **fields)


def test_calls_failures_and_the_store(sink: DictSink, metrics: JobMetrics, clock: Clock) -> None:
    call = Call(Stage.SCORE_DRAWN, (0, 1))
    clock.now = 1234.0
    metrics(CallEnded("oracle", 0, 3, call, 2, 0.7, 0.1))
    assert sink.observed == {("bottega_stage_seconds", "nightly", "score_drawn"): [0.7]}
    assert sink.of("bottega_last_call_timestamp_seconds") == {(): 1234.0}
    metrics(CallFailed(3, call, ErrorKind.OUT_OF_MEMORY, "too large"))
    metrics(ActorDied("teacher", "gone"))
    metrics(ActorDied("teacher", "gone"))
    metrics(ActorReplaced("teacher", "hangs"))
    assert sink.of("bottega_failures_total") == {
        ("out_of_memory",): 1, ("actor_died",): 2, ("actor_replaced",): 1,
    }  # fmt: skip
    assert not set(ACTOR_FAILURES.values()) & {kind.name.lower() for kind in ErrorKind}
    metrics(StoreMeasured(10.0, 20.0))
    assert sink.of("bottega_object_store_held_bytes") == {(): 10.0}
    assert sink.of("bottega_object_store_budget_bytes") == {(): 20.0}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "succeeded"),
        (StalledError("nothing came back"), "failed"),
        (InterruptedJobError("stopped"), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_a_run_that_ends_says_how_before_its_session_ends(
    error: BaseException | None, state: str, sink: DictSink, metrics: JobMetrics
) -> None:
    ended_in_session: list[Values] = []

    @contextmanager
    def session() -> Iterator[Resources]:
        try:
            yield cast(Resources, None)
        finally:
            ended_in_session.append(sink.of("bottega_runs_ended_total"))

    def body() -> None:
        with metrics.around(session()):
            assert set(sink.of("bottega_runs_ended_total").values()) == {0.0}
            assert sink.of("bottega_last_call_timestamp_seconds") == {(): 1000.0}
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            body()
    else:
        body()
    (found,) = ended_in_session
    assert {key[0] for key, value in found.items() if value} == {state}
    assert sink.is_closed


def test_names_follow_prometheus_conventions() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("bottega_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert metric.help.endswith(".")
