"""The state of a job, written beside its dataset: who looks needs the output and nothing else.

The driver writes `status.json` a few times a minute (`jobs.execution.status_reporter`), and anybody
reads it, from any machine, also after the cluster is gone. The time of its last writing is the
driver's heartbeat: a driver that was killed writes nothing more, and its job is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.errors import BottegaError, InterruptedJobError, OutputError
from actors.redact import redacted

SCHEMA = 1
"""Of status.json and of `--json`; it rises when a reader of the older one would misread it."""

LOST_SECONDS = 60.0
"""A driver that has written nothing for this long counts as dead. Four heartbeats, so that a slow
store hides nobody; after a mistake two drivers do the same work, and the bytes are right."""

MOST_TEXT = 4_000
"""Characters of a text in the file: the longest error names some fields and paths."""


class State(StrEnum):
    """The state of a job. Failed rows are a count, and no state."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_active(self) -> bool:
        """Whether a driver is at it, or will be."""
        return self in (State.PENDING, State.RUNNING, State.STOPPING)

    @property
    def exit_code(self) -> int:
        """The exit code of who asks for the state; 5 for a job that has not ended."""
        return _EXIT_CODES.get(self, 5)


_EXIT_CODES = {State.SUCCEEDED: 0, State.FAILED: 1, State.CANCELLED: 4}

Text = Annotated[str, Field(max_length=MOST_TEXT)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Work = Literal["run", "retry"]


class _Fields(BaseModel):
    """A newer version may write more fields, which this one does not read."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)


class PoolStatus(_Fields):
    """Actors of a pool: as in `jobs.execution.progress.PoolView`."""

    name: Text
    size: Count
    ready: Count
    busy: Count
    queued: Count
    leaving: Count = 0
    waiting: Count = 0


class ProgressStatus(_Fields):
    """How the job stands: as in `jobs.execution.progress.Progress`."""

    num_rows: Count
    done_rows: Count
    resumed_rows: Count
    failed_rows: Count
    judged_rows: Count
    rejected_rows: Count
    refined_rows: Count
    parts_done: Count
    num_parts: Count
    elapsed_seconds: Seconds
    seconds_left: Seconds | None = None
    pools: list[PoolStatus] = []
    balance: Text = ""
    waiting: Text = ""
    calibrating: bool = False


class Rates(_Fields):
    """`rows_per_second` of this attempt; fractions of the rows that it judged."""

    rows_per_second: Seconds
    accepted_fraction: float
    refined_fraction: float


class JobStatus(_Fields):
    """The content of status.json. Times are ISO 8601, in UTC, by the driver's clock.

    `id`: the job's (jobs/job_id.py). `submission_id`: Ray's, empty where the driver is no Ray job.
    `reason`: why it is in this state, a sentence. `exit_code`: the driver's, once it has ended.
    `steps`: what is to follow the last record, without which the job is not done, and `steps_left`
    those of them that are not taken yet (jobs/execution/steps.py).
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    id: Text
    name: Text
    work: Work = "run"
    attempt: Annotated[int, Field(ge=1)] = 1
    submission_id: Text = ""
    run_for: Text = ""
    labels: dict[Text, Text] = {}
    state: State
    reason: Text = ""
    exit_code: int | None = None
    host: Text = ""
    pid: Count = 0
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None = None
    progress: ProgressStatus | None = None
    rates: Rates | None = None
    steps: list[Text] = []
    steps_left: list[Text] = []


def encode_status(status: JobStatus) -> bytes:
    """The content of status.json; secrets are taken out."""
    fields = status.model_dump(mode="json", by_alias=True)
    return json.dumps(redacted(fields), indent=2).encode() + b"\n"


def decode_status(content: bytes, where: str) -> JobStatus:
    """The status in the content of status.json. Raises OutputError that names `where`."""
    try:
        fields = json.loads(content)
        written = fields.get("schema") if isinstance(fields, Mapping) else None
        if isinstance(written, int) and written > SCHEMA:
            raise OutputError(
                f"{where} has schema {written}, and this version reads schemas up to {SCHEMA}: a "
                "newer version wrote it. Use that version."
            )
        return JobStatus.model_validate(fields)
    except (ValueError, RecursionError) as error:
        wrong = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise OutputError(
            f"{where} is no status of a job ({wrong}). The next run writes it anew; what is in the "
            "dataset is in its records."
        ) from error


@dataclass(frozen=True, slots=True)
class OutputState:
    """The state of an output as it is judged from outside.

    `silent_seconds`: since the last heartbeat, by the store's clock. `status`: None for the output
    of a version that wrote none. `finished`: every part is there, and every step is taken.
    """

    state: State
    reason: str
    status: JobStatus | None = None
    silent_seconds: float = 0.0
    finished: bool = False


def judge(status: JobStatus | None, silent_seconds: float, finished: bool) -> OutputState:
    """The state of an output that has a job. Pure.

    finished: whether `_SUCCESS` is there, which no run leaves while parts are missing.
    """
    if status is None:
        if finished:
            return OutputState(State.SUCCEEDED, "every part is there", finished=True)
        reason = "parts are missing, and no driver has said that it makes them"
        return OutputState(State.LOST, reason)
    finished = finished and not status.steps_left
    found = OutputState(status.state, status.reason, status, silent_seconds, finished)
    if status.state.is_active:
        if silent_seconds <= LOST_SECONDS:
            return found
        if finished:
            return replace(found, state=State.SUCCEEDED, reason="every part is there")
        where = f"process {status.pid} on {status.host}"
        reason = f"its driver, {where}, has not been heard of for {silent_seconds:.0f} s"
        return replace(found, state=State.LOST, reason=reason)
    if status.state is State.SUCCEEDED and not finished:
        return replace(found, state=State.FAILED, reason="it ended, and parts are missing since")
    return found


def ending(error: BaseException | None) -> dict[str, object]:
    """The fields of a status that say how an attempt ended."""
    state, reason, code = State.FAILED, str(error), 1
    if error is None:
        state, reason, code = State.SUCCEEDED, "every part is there", 0
    elif isinstance(error, InterruptedJobError | KeyboardInterrupt):
        state, code = State.CANCELLED, State.CANCELLED.exit_code
        reason = reason or "stopped at once. Finished parts are safe."
    elif isinstance(error, BottegaError):
        code = error.exit_code
    else:
        reason = f"{type(error).__name__}: {error}"
    return {"state": state, "reason": reason[:MOST_TEXT], "exit_code": code}
