"""What a submit does, and in which state a job is. Pure: two tables, with a reason for each line.

The output is the truth about the work. Ray knows whether the process lives: it is asked first
whether a driver runs, since a job that is submitted twice must never run twice.

| Ray, of the latest attempt | output | `submit` |
|---|---|---|
| pending or running | any | attaches |
| another job, pending or running, on the same output | any | is refused |
| any | another job's | is refused |
| none, or ended long ago | a driver outside of this cluster is alive | attaches |
| stopped or failed, or killed a moment ago | running or stopping | goes on: Ray saw the end of it |
| any | every part is there, and every step of the job file was taken | done |
| succeeded | cannot be seen from here | done |
| none | none | starts |
| ended | failed, cancelled, lost, not finished | goes on with a new attempt |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from jobs.job_id import attempt_id, split_attempt
from jobs.output.status import OutputState, State

Work = Literal["run", "retry", "calibrate"]

SAFE = "Finished parts are safe."


class RayStatus(StrEnum):
    """The states of Ray's Jobs API."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """An attempt at a job, as Ray's Jobs API has it. `exit_code`: the driver's, if Ray saw it."""

    submission_id: str
    ray_status: RayStatus
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    driver_pid: int | None = None

    @property
    def job_id(self) -> str:
        """The job's id, without the number of the attempt."""
        return split_attempt(self.submission_id)[0]

    @property
    def attempt(self) -> int:
        """The number of the attempt."""
        return split_attempt(self.submission_id)[1]

    @property
    def is_active(self) -> bool:
        """Whether its driver runs or will run."""
        return self.ray_status in (RayStatus.PENDING, RayStatus.RUNNING)


def latest_of(submissions: Sequence[Submission]) -> Submission | None:
    """The one with the highest number of an attempt."""
    return max(submissions, key=lambda one: one.attempt, default=None)


# ---- the state of a job


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a job, and why."""

    state: State
    reason: str


def standing(latest: Submission | None, output: OutputState | None) -> Standing | None:
    """The state of a job, by its latest attempt and its output; None where neither knows it."""
    status = output.status if output else None
    if latest is None or (status and _is_newer(status.id, status.attempt, latest)):
        return Standing(output.state, output.reason) if output else None
    wrote = status if status and status.submission_id == latest.submission_id else None
    match latest.ray_status:
        case RayStatus.PENDING:
            return Standing(State.PENDING, latest.message or "its driver waits to be started")
        case RayStatus.RUNNING:
            if wrote is None or not wrote.state.is_active or output is None:
                return Standing(State.RUNNING, "its driver starts")
            if output.state is State.LOST:
                silent = f"{output.silent_seconds:.0f} s"
                return Standing(wrote.state, f"Ray says it runs, and it wrote nothing for {silent}")
            waiting = wrote.progress.waiting if wrote.progress else ""
            return Standing(wrote.state, wrote.reason or waiting)
        case RayStatus.SUCCEEDED:
            if output and wrote:
                return Standing(output.state, output.reason)  # parts may be missing since
            return Standing(State.SUCCEEDED, "its driver ended well")
        case RayStatus.STOPPED:
            said = wrote.reason if wrote and wrote.state is State.CANCELLED else ""
            return Standing(State.CANCELLED, said or f"stopped. {SAFE}")
        case RayStatus.FAILED:
            if wrote and not wrote.state.is_active:
                return Standing(wrote.state, wrote.reason)
            if latest.exit_code == State.CANCELLED.exit_code:
                return Standing(State.CANCELLED, f"stopped. {SAFE}")
            return Standing(State.FAILED, said_last(latest))


def _is_newer(job: str, attempt: int, latest: Submission) -> bool:
    return job == latest.job_id and attempt > latest.attempt


def said_last(submission: Submission) -> str:
    """The sentence with which a driver ended, out of the lines that Ray kept of its log."""
    _, found, said = submission.message.rpartition("\nbottega: ")
    if found:
        return said.strip()
    if submission.exit_code is not None and submission.exit_code < 0:
        return f"its driver was killed (signal {-submission.exit_code}). {SAFE}"
    first = submission.message.splitlines()[0] if submission.message else "its driver ended"
    return f"{first} `bottega logs {submission.submission_id}` shows more."


# ---- what a submit does


class Action(StrEnum):
    """What a submit does."""

    START = "start"
    ATTACH = "attach"
    DONE = "done"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. `extend`: the input may have grown since the job was done. `steps`: what
    is to follow the last record, as a status has them."""

    job_id: str
    work: Work = "run"
    extend: bool = False
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """`submission_id`: of the attempt that is started, or attached to; empty where the driver is no
    job of this cluster."""

    action: Action
    reason: str
    submission_id: str = ""


def decide(
    request: Request,
    submissions: Sequence[Submission],
    output: OutputState | None,
    differs: Sequence[str] = (),
    others: Sequence[Submission] = (),
) -> Decision:
    """The line of the table that applies.

    submissions: the attempts at this job that Ray knows. output: None where no job has begun, or it
    cannot be seen from here. differs: the fields in which the job of the output is another one.
    others: attempts at other jobs on the same output.
    """
    latest = latest_of(submissions)
    status = output.status if output else None
    number = max(
        latest.attempt if latest else 0,
        status.attempt if status and status.id == request.job_id else 0,
    )
    following = attempt_id(request.job_id, number + 1)
    if latest and latest.is_active:
        return Decision(Action.ATTACH, _runs(latest, output), latest.submission_id)
    if request.work == "calibrate":
        if latest and latest.ray_status is RayStatus.SUCCEEDED:
            reason = f"it was calibrated: `bottega logs {latest.submission_id}` shows the table"
            return Decision(Action.DONE, reason, latest.submission_id)
        return Decision(Action.START, "a sample is drawn and scored", following)
    if differs:
        held = "the output holds another job. What differs:"
        fields = "".join(f"\n  {line}" for line in differs)
        hint = "\nChoose another output, or put the job back as it was."
        return Decision(Action.REFUSE, f"{held}{fields}{hint}")
    if busy := next((one for one in others if one.is_active), None):
        reason = f"another job, {busy.submission_id}, writes to the same output. Choose another one"
        return Decision(Action.REFUSE, reason)
    if output and output.state.is_active and status and not _saw_its_end(submissions, output):
        if status.id != request.job_id:
            reason = f"another job, {status.id}, writes to the same output. Choose another one"
            return Decision(Action.REFUSE, reason)
        where = f"process {status.pid} on {status.host}, which is no job of this cluster"
        return Decision(Action.ATTACH, f"it runs: {where}")
    if request.work == "retry":
        return _decide_retry(output, following)
    new_steps = [one for one in request.steps if not (status and one in status.steps)]
    if output and output.finished and not request.extend and not new_steps:
        return Decision(Action.DONE, "it is done: every part is there", _id_of(latest, output))
    ended_well = latest is not None and latest.ray_status is RayStatus.SUCCEEDED
    if latest and ended_well and output is None and not request.extend:
        return Decision(Action.DONE, "it is done: its driver ended well", latest.submission_id)
    before = standing(latest, output)
    if before is None:
        return Decision(Action.START, "it starts", following)
    if new_steps and output and output.finished and not request.extend:
        return Decision(
            Action.START, f"every part is there; now: {', '.join(new_steps)}", following
        )
    if request.extend and before.state is State.SUCCEEDED:
        return Decision(Action.START, "it goes on with what was added to its input", following)
    reason = f"it goes on from its finished parts: {before.state}, {before.reason.rstrip('.')}"
    return Decision(Action.START, reason, following)


def _decide_retry(output: OutputState | None, following: str) -> Decision:
    if output is None:
        return Decision(Action.REFUSE, "there is no output whose failed rows could be drawn again")
    progress = output.status.progress if output.status else None
    if output.finished and progress and not progress.failed_rows:
        return Decision(
            Action.DONE, "no row failed", output.status.submission_id if output.status else ""
        )
    return Decision(Action.START, "its failed rows are drawn again", following)


def _runs(latest: Submission, output: OutputState | None) -> str:
    found = standing(latest, output)
    assert found is not None
    return f"it is {found.state}" + (f": {found.reason}" if found.reason else "")


def _saw_its_end(submissions: Sequence[Submission], output: OutputState) -> bool:
    """Whether the driver that wrote the status was a job of this cluster, and Ray saw it end."""
    assert output.status is not None
    return any(one.submission_id == output.status.submission_id for one in submissions)


def _id_of(latest: Submission | None, output: OutputState) -> str:
    if output.status and output.status.submission_id:
        return output.status.submission_id
    return latest.submission_id if latest else ""
