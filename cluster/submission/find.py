"""Finds a job by its id, its name or its output: all three lead to the same one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.errors import ClusterError, NoSuchJobError, OutputError, SpecError, StorageError
from cluster.submission.decision import Standing, Submission, latest_of, standing
from cluster.submission.this_attempt import LABEL
from jobs import JobSpec
from jobs.job_id import PREFIX, absolute, job_id, split_attempt
from jobs.output.status import SCHEMA, JobStatus, OutputState, State
from jobs.output.status_file import read_state
from jobs.storage.storage_at import storage_at

if TYPE_CHECKING:
    from cluster.submission.ray_jobs import RayJobs

Connect = Callable[[], "RayJobs"]

log = logging.getLogger("bottega.submit")

MOST_SAID = 300
"""Characters of a warning about one output, of which a list may have many."""


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job. `submission`: its latest attempt on the cluster, None without one. `output`: where its
    dataset is, as far as that is known. `output_state`: None where it cannot be seen from here."""

    id: str
    name: str
    output: str
    submission: Submission | None
    output_state: OutputState | None
    standing: Standing

    @property
    def state(self) -> State:
        """Its state."""
        return self.standing.state

    @property
    def status(self) -> JobStatus | None:
        """What the driver of its latest attempt wrote beside the dataset."""
        status = self.output_state.status if self.output_state else None
        if status and self.submission and status.submission_id != self.submission.submission_id:
            newer = status.id == self.id and status.attempt > self.submission.attempt
            return status if newer else None
        return status

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        if self.submission is None:
            return dict(self.status.labels) if self.status else {}
        return labels_of(self.submission)

    @property
    def _is_whole(self) -> bool:
        """Whether every part is there, so that its pages are."""
        progress = self.status.progress if self.status else None
        done = progress is not None and 0 < progress.num_parts == progress.parts_done
        return done or bool(self.output_state and self.output_state.finished)

    @property
    def exit_code(self) -> int:
        """The exit code of who waits for it: the driver's own where the job failed."""
        status, submission = self.status, self.submission
        if self.state is State.FAILED:
            code = status.exit_code if status else submission.exit_code if submission else None
            return code if code in (1, 2) else 1
        return self.state.exit_code

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        status, submission = self.status, self.submission
        written = status.model_dump(mode="json") if status else {}
        run_for = submission.metadata.get("for", "") if submission else ""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "name": self.name,
            "state": self.state.value,
            "reason": self.standing.reason,
            "output": self.output,
            "submission_id": submission.submission_id if submission else None,
            "attempt": submission.attempt if submission else written.get("attempt"),
            "work": submission.metadata.get("work", "run") if submission else written.get("work"),
            "run_for": run_for or written.get("run_for") or None,
            "labels": self.labels,
            "exit_code": None if self.state.is_active else self.exit_code,
            "submitted_at": iso(submission.submitted_at) if submission else None,
            "silent_seconds": (
                round(self.output_state.silent_seconds, 1) if self.output_state else None
            ),
            **{
                name: written.get(name)
                for name in ("started_at", "heartbeat_at", "ended_at", "progress", "rates")
            },
            "steps": written.get("steps", []),
            "steps_left": written.get("steps_left", []),
            "report": f"{self.output}/report.html" if self._is_whole else None,
        }


def iso(time: Any) -> str | None:
    """A time as ISO 8601 in UTC."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z") if time else None


def labels_of(submission: Submission) -> dict[str, str]:
    """The labels of a submission."""
    return {
        name.removeprefix(LABEL): value
        for name, value in submission.metadata.items()
        if name.startswith(LABEL)
    }


def find_job(job: str, connect: Connect | None, default: Connect | None) -> FoundJob:
    """The job that `job` names. Raises NoSuchJobError, or SpecError where a name is not enough.

    connect: to the cluster that the user named; None without one. default: to the usual one, which
    is asked where JOB is no output.
    """
    if is_output(job):
        return _by_output(job, connect)
    way = connect or default
    assert way is not None
    everything = way().all()
    wanted, _ = split_attempt(job)
    submissions = [one for one in everything if one.job_id == wanted]
    if not submissions:
        named = [one for one in everything if one.metadata.get("name") == job]
        # The calibration of a job has its name, and gives way to the job itself.
        runs = [one for one in named if one.metadata.get("work") != "calibrate"]
        named = runs or named
        ids = sorted({one.job_id for one in named})
        if len(ids) > 1:
            raise SpecError(f"{len(ids)} jobs have the name {job!r}: {', '.join(ids)}. Give an id.")
        submissions = named
    if not submissions:
        raise NoSuchJobError(
            f"the cluster knows no job {job!r}. `bottega list -a` shows those that it knows; after "
            "a restart of the cluster an output still tells: `bottega status OUTPUT`."
        )
    return found_job(submissions)


def nothing_to_do(spec: JobSpec, run_for: str, reason: str) -> FoundJob:
    """A job that ended well before it had an output, as there was no input."""
    standing_ = Standing(State.SUCCEEDED, reason)
    return FoundJob(job_id(spec, run_for), spec.name, absolute(spec.output), None, None, standing_)


def is_output(job: str) -> bool:
    """Whether a JOB is an output's folder or URL: an id or a name is no path."""
    return "/" in job or Path(job).is_dir()


def found_job(submissions: Iterable[Submission]) -> FoundJob:
    """The job of these attempts."""
    latest = latest_of(list(submissions))
    assert latest is not None
    output = latest.metadata.get("output", "")
    state = state_of(output)
    found = standing(latest, state)
    assert found is not None
    name = latest.metadata.get("name", latest.job_id)
    return FoundJob(latest.job_id, name, output, latest, state, found)


def find_output(output: str) -> FoundJob:
    """The job at an output, as it says itself. Raises NoSuchJobError."""
    return _by_output(output, None)


def _by_output(job: str, connect: Connect | None) -> FoundJob:
    output = absolute(job)
    state = read_state(storage_at(output))
    status = state.status if state else None
    submissions: list[Submission] = []
    # What has ended needs no cluster, which may be gone.
    if connect and (state is None or state.state.is_active or state.state is State.LOST):
        try:
            submissions = [
                one
                for one in connect().all()
                if (one.job_id == status.id if status else one.metadata.get("output") == output)
                and one.metadata.get("work") != "calibrate"
            ]
        except ClusterError:
            if state is None:
                raise
    if submissions:
        return found_job(submissions)
    if state is None:
        raise NoSuchJobError(f"{job!r} holds no job. Give the output of a job that has begun.")
    name = status.name if status else Path(output).name
    found = Standing(state.state, state.reason)
    return FoundJob(status.id if status else "", name, output, None, state, found)


def state_of(output: str) -> OutputState | None:
    """The state of an output, by itself; None where none can be seen from here: a job whose output
    only the cluster may read can be listed, cancelled and waited for all the same."""
    if not output:
        return None
    try:
        return read_state(storage_at(output))
    except (StorageError, OutputError) as error:
        log.warning("%s", f"the state of {output} cannot be read here: {error}"[:MOST_SAID])
        return None


def list_jobs(jobs: RayJobs, ended: bool, labels: Mapping[str, str]) -> list[FoundJob]:
    """The jobs of a cluster that have these labels, the latest last; with `ended`, those too."""
    attempts: dict[str, list[Submission]] = {}
    for one in jobs.all():
        if one.submission_id.startswith(f"{PREFIX}-") and labels.items() <= labels_of(one).items():
            attempts.setdefault(one.job_id, []).append(one)
    found = [
        found_job(submissions)
        for submissions in attempts.values()
        if ended or any(one.is_active for one in submissions)
    ]
    return [job for job in found if ended or job.state.is_active]
