"""Keeps the status of a job beside its dataset: an observer, and a thread that writes.

The runner's loop only hands the progress over, so a slow store holds nobody up. A status that
cannot be written ends no job: the runner raises for an output that fails.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from threading import Event, Lock, Thread

from actors.errors import OutputError, OutputFailedError, StorageError
from jobs.execution.attempt import Attempt
from jobs.execution.observers import JobEvent, Stopping
from jobs.execution.progress import Progress
from jobs.job_id import job_id
from jobs.output.status import (
    MOST_TEXT,
    JobStatus,
    OutputState,
    ProgressStatus,
    Rates,
    State,
    Work,
    ending,
)
from jobs.output.status_file import read_state, write_status
from jobs.resolution import Job
from jobs.storage.storage import Storage

log = logging.getLogger("bottega.job")

FIRST_BEAT_SECONDS = 1.0
BEAT_SECONDS = 15.0
"""Between two writings: four a minute are nothing to a store. The first ones come sooner, doubled
each time, so that a short job is seen as well."""


STATUS_KINDS = (Progress, Stopping)
"""The kinds of events that change the status."""


class StatusReporter:
    """The status of one attempt; `reporting` makes one and writes it until the attempt ends."""

    def __init__(self, job: Job, work: Work, attempt: Attempt, now: Callable[[], datetime]) -> None:
        self._output, self._storage, self._now = job.output, job.output.storage, now
        self._progress: Progress | None = None
        # The heartbeat's thread and the driver's own both write: the later one is to be the newer.
        self._writing = Lock()
        started = now()
        identity = attempt.job_id or job_id(job.spec, attempt.run_for)
        self._status = JobStatus(
            id=identity,
            name=job.spec.name,
            work=work,
            attempt=attempt.number or _next_number(_state_before(self._storage), identity),
            submission_id=attempt.submission_id,
            run_for=attempt.run_for,
            labels=dict(attempt.labels),
            state=State.RUNNING,
            host=platform.node(),
            pid=os.getpid(),
            started_at=started,
            heartbeat_at=started,
            steps=list(job.spec.after.steps),
            steps_left=list(job.spec.after.steps),
        )

    def __call__(self, event: JobEvent) -> None:
        """Keep the progress for the next writing; write at once that the job stops."""
        if isinstance(event, Progress):
            self._progress = event
        elif isinstance(event, Stopping):
            self._status = self._status.model_copy(
                update={"state": State.STOPPING, "reason": event.reason}
            )
            self.write()

    def note_step(self, reason: str, left: Sequence[str]) -> None:
        """Say what is done now, and which steps are left."""
        self._status = self._status.model_copy(
            update={"reason": reason[:MOST_TEXT], "steps_left": list(left)}
        )
        self.write()

    def write(self) -> None:
        """Write the status as it is now; an output that fails is the runner's to report."""
        try:
            if self._progress and not self._progress.calibrating:
                # Where job.json is not, the disk is away, and its place is not to be written to.
                self._output.check_there()
            with self._writing:
                write_status(self._storage, self._now_status())
        except (OutputFailedError, StorageError) as error:
            log.debug("the status is not written: %s", error)

    def end(self, error: BaseException | None) -> None:
        """Write how the attempt ended."""
        self._status = self._status.model_copy(update={**ending(error), "ended_at": self._now()})
        self.write()

    def _now_status(self) -> JobStatus:
        update: dict[str, object] = {"heartbeat_at": self._now()}
        if (progress := self._progress) is not None:
            update["progress"] = ProgressStatus.model_validate(asdict(progress))
            update["rates"] = Rates(
                rows_per_second=progress.rows_per_second,
                accepted_fraction=progress.accepted_fraction,
                refined_fraction=progress.refined_fraction,
            )
        return self._status.model_copy(update=update)


@contextmanager
def reporting(job: Job, work: Work, attempt: Attempt) -> Iterator[StatusReporter]:
    """Write the status of an attempt while the block runs, and at its end how it ended."""
    reporter = StatusReporter(job, work, attempt, lambda: datetime.now(UTC))
    reporter.write()
    ended = Event()
    beating = Thread(target=_beat, args=(reporter, ended), name="status", daemon=True)
    beating.start()
    error: BaseException | None = None
    try:
        yield reporter
    except BaseException as raised:
        error = raised
        raise
    finally:
        ended.set()
        beating.join()
        reporter.end(error)


def _beat(reporter: StatusReporter, ended: Event) -> None:
    seconds = FIRST_BEAT_SECONDS
    while not ended.wait(seconds):
        reporter.write()
        seconds = min(2 * seconds, BEAT_SECONDS)


def _state_before(storage: Storage) -> OutputState | None:
    """The state that an earlier attempt left; a damaged one is written anew."""
    try:
        return read_state(storage)
    except (StorageError, OutputError) as error:
        log.warning("%s", error)
        return None


def _next_number(before: OutputState | None, identity: str) -> int:
    status = before.status if before else None
    return status.attempt + 1 if status and status.id == identity else 1
