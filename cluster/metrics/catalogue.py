"""The metrics of a job as a table: names by Prometheus' conventions, labels, and what each counts.

docs/metrics.md has the same table. Ray's agent puts `ray_` before each name; the configuration
beside this file (prometheus.yml) takes it away again, so that one dashboard serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """Prometheus' types of metrics."""

    COUNTER = auto()
    """It only rises, from 0 when the process starts."""
    GAUGE = auto()
    HISTOGRAM = auto()


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table. `labels`: those beside `job`, the job's id."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def all_labels(self) -> tuple[str, ...]:
        """`job` first."""
        return ("job", *self.labels)


ROWS_TOTAL = Metric(
    "bottega_rows_total",
    Kind.COUNTER,
    "Rows committed by this process: accepted (the student's picture passed), refined, unrefined "
    "(rejected, and the teacher made no picture), failed.",
    ("outcome",),
)
RUNG_ROWS_TOTAL = Metric(
    "bottega_rung_rows_total",
    Kind.COUNTER,
    "Rows committed by this process that took a rung of the job's ladder: its number, from 1, and "
    "what it does (draw, refine, regenerate). Without `ladder` there are two.",
    ("rung", "make"),
)
ROWS = Metric(
    "bottega_job_rows",
    Kind.GAUGE,
    "Rows of the job: done, failed, or left. Their sum is the input's.",
    ("state",),
)
PARTS = Metric("bottega_job_parts", Kind.GAUGE, "Parts of the job: done, or left.", ("state",))
STAGE_SECONDS = Metric(
    "bottega_stage_seconds", Kind.HISTOGRAM, "Seconds of a call, by stage.", ("stage",)
)
QUEUED_CALLS = Metric(
    "bottega_queued_calls", Kind.GAUGE, "Calls that no actor of the pool has yet.", ("pool",)
)
POOL_ACTORS = Metric(
    "bottega_pool_actors",
    Kind.GAUGE,
    "Actors of a pool: wanted, ready (loaded), busy, leaving, waiting (for a place on a node).",
    ("pool", "state"),
)
GPU_SECONDS_TOTAL = Metric(
    "bottega_gpu_seconds_total",
    Kind.COUNTER,
    "GPU-seconds that the actors of a pool have held, busy or not. 0 on cores.",
    ("pool",),
)
REJECTED_FRACTION = Metric(
    "bottega_rejected_fraction", Kind.GAUGE, "Of the rows that the oracle judged in this process."
)
REJECTED_LOW = Metric(
    "bottega_rejected_fraction_low",
    Kind.GAUGE,
    "The lower end of its 95 % interval for all rows of the job.",
)
REJECTED_HIGH = Metric(
    "bottega_rejected_fraction_high",
    Kind.GAUGE,
    "The upper end of its 95 % interval for all rows of the job.",
)
STORE_HELD = Metric(
    "bottega_object_store_held_bytes",
    Kind.GAUGE,
    "Bytes that open parts hold in the object store.",
)
STORE_BUDGET = Metric(
    "bottega_object_store_budget_bytes", Kind.GAUGE, "Bytes that they may hold there."
)
FAILURES_TOTAL = Metric(
    "bottega_failures_total",
    Kind.COUNTER,
    "Failed calls, by the kind of the error, and actors that were replaced or did not load.",
    ("kind",),
)
TIME_LEFT = Metric(
    "bottega_time_left_seconds", Kind.GAUGE, "Seconds that the job still takes, once it is known."
)
ELAPSED = Metric("bottega_elapsed_seconds", Kind.GAUGE, "Seconds since the first part was opened.")
PLANNED = Metric(
    "bottega_planned_seconds",
    Kind.GAUGE,
    "Seconds that this process foresaw in all when it first could: elapsed and left.",
)
HEARTBEAT = Metric(
    "bottega_heartbeat_timestamp_seconds", Kind.GAUGE, "When the driver was last alive."
)
LAST_CALL = Metric(
    "bottega_last_call_timestamp_seconds",
    Kind.GAUGE,
    "When a call last ended well, or the process began.",
)
RUNS_ENDED_TOTAL = Metric(
    "bottega_runs_ended_total",
    Kind.COUNTER,
    "1 once this process has ended its run: succeeded, failed, or cancelled.",
    ("state",),
)

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))

OUTCOMES = ("accepted", "refined", "unrefinable", "failed")
END_STATES = ("succeeded", "failed", "cancelled")

SECONDS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0)
"""Upper bounds of STAGE_SECONDS. A score takes a twentieth of a second, a teacher's batch up to a
minute, the commit of a large part some minutes; beyond lies what counts as hung."""
