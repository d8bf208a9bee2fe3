"""An observer of a job that makes metrics of its events. It has no Ray and no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from actors.errors import InterruptedJobError
from cluster.metrics import catalogue as known
from cluster.metrics.catalogue import Metric
from cluster.metrics.sink import Sink
from jobs import Progress, Resources
from jobs.events import (
    ActorDied,
    ActorNotLoaded,
    ActorReplaced,
    CallEnded,
    CallFailed,
    JobEvent,
    MicroBatchHalved,
    PartCommitted,
    StoreMeasured,
)

ACTOR_FAILURES: dict[type, str] = {
    ActorDied: "actor_died",
    ActorReplaced: "actor_replaced",
    ActorNotLoaded: "actor_not_loaded",
    MicroBatchHalved: "micro_batch_halved",
}
"""By kind of event: the label `kind` of bottega_failures_total."""


class JobMetrics:
    """The metrics of one run of a job."""

    def __init__(
        self,
        job: str,
        sinks: Sequence[Sink],
        wall_time: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """`job`: its id. `wall_time`: seconds since 1970. `monotonic`: seconds of any beginning."""
        self._job, self._sinks = job, sinks
        self._wall_time, self._monotonic = wall_time, monotonic
        self._gpus_since = monotonic()
        self._gpus: dict[str, float] = {}
        """GPUs by pool, as the last progress had them."""
        self._planned: float | None = None

    @contextmanager
    def around(self, session: AbstractContextManager[Resources]) -> Iterator[Resources]:
        """The session of a run, with its beginning and its end as metrics.

        The end is counted before Ray is left, since Ray's agent takes nothing afterwards.
        """
        with session as have:
            self._begin()
            try:
                yield have
            except (InterruptedJobError, KeyboardInterrupt):
                self._end("cancelled")
                raise
            except BaseException:
                self._end("failed")
                raise
            else:
                self._end("succeeded")

    def _begin(self) -> None:
        for sink in self._sinks:
            for outcome in known.OUTCOMES:
                sink.declare(known.ROWS_TOTAL, self._labels(outcome=outcome))
            for state in known.END_STATES:
                sink.declare(known.RUNS_ENDED_TOTAL, self._labels(state=state))
        self._set(known.HEARTBEAT, self._wall_time())
        self._set(known.LAST_CALL, self._wall_time())

    def _end(self, state: str) -> None:
        self._set(known.HEARTBEAT, self._wall_time())
        self._count(known.RUNS_ENDED_TOTAL, 1.0, state=state)
        for sink in self._sinks:
            sink.close()

    def __call__(self, event: JobEvent) -> None:
        """Take the values of an event."""
        match event:
            case CallEnded():
                stage = event.call.stage.replace(" ", "_")
                for sink in self._sinks:
                    sink.observe(known.STAGE_SECONDS, event.seconds, self._labels(stage=stage))
                self._set(known.LAST_CALL, self._wall_time())
            case Progress():
                self._take_progress(event)
            case PartCommitted():
                for outcome, rows in event.outcomes.items():
                    self._count(known.ROWS_TOTAL, rows, outcome=outcome)
                for number, (make, rows) in enumerate(event.rungs, 1):
                    self._count(known.RUNG_ROWS_TOTAL, rows, rung=str(number), make=make)
            case CallFailed():
                self._count(known.FAILURES_TOTAL, 1.0, kind=event.kind.name.lower())
            case StoreMeasured():
                self._set(known.STORE_HELD, event.held)
                self._set(known.STORE_BUDGET, event.budget)
            case _ if type(event) in ACTOR_FAILURES:
                self._count(known.FAILURES_TOTAL, 1.0, kind=ACTOR_FAILURES[type(event)])

    def _take_progress(self, progress: Progress) -> None:
        self._set(known.HEARTBEAT, self._wall_time())
        self._take_pools(progress)
        if progress.calibrating:
            return  # the rows are the sample's
        done = progress.done_rows - progress.failed_rows
        self._set(known.ROWS, done, state="done")
        self._set(known.ROWS, progress.failed_rows, state="failed")
        self._set(known.ROWS, progress.num_rows - progress.done_rows, state="left")
        self._set(known.PARTS, progress.parts_done, state="done")
        self._set(known.PARTS, progress.num_parts - progress.parts_done, state="left")
        self._set(known.ELAPSED, progress.elapsed_seconds)
        if progress.judged_rows:
            low, high = progress.rejected_interval
            self._set(known.REJECTED_FRACTION, progress.rejected_fraction)
            self._set(known.REJECTED_LOW, low)
            self._set(known.REJECTED_HIGH, high)
        if progress.seconds_left is not None:
            self._set(known.TIME_LEFT, progress.seconds_left)
            if self._planned is None:
                self._planned = progress.elapsed_seconds + progress.seconds_left
            self._set(known.PLANNED, self._planned)

    def _take_pools(self, progress: Progress) -> None:
        now = self._monotonic()
        for name, gpus in self._gpus.items():
            self._count(known.GPU_SECONDS_TOTAL, gpus * (now - self._gpus_since), pool=name)
        self._gpus, self._gpus_since = {each.name: each.gpus for each in progress.pools}, now
        for pool in progress.pools:
            self._set(known.QUEUED_CALLS, pool.queued, pool=pool.name)
            counts = {
                "wanted": pool.size,
                "ready": pool.ready,
                "busy": pool.busy,
                "leaving": pool.leaving,
                "waiting": pool.waiting,
            }
            for state, actors in counts.items():
                self._set(known.POOL_ACTORS, actors, pool=pool.name, state=state)

    # ---- to every sink

    def _labels(self, **labels: str) -> dict[str, str]:
        return {"job": self._job, **labels}

    def _count(self, metric: Metric, amount: float, **labels: str) -> None:
        if amount > 0:
            for sink in self._sinks:
                sink.count(metric, amount, self._labels(**labels))

    def _set(self, metric: Metric, value: float, **labels: str) -> None:
        for sink in self._sinks:
            sink.set(metric, value, self._labels(**labels))
