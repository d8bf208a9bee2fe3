"""A run writes its state beside its dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.errors import InterruptedJobError, TooManyFailuresError
from jobs.execution.attempt import Attempt
from jobs.execution.calls import Call
from jobs.execution.run import run_job
from jobs.execution.stages import FILE_POOL, STAGES, Stage
from jobs.job_id import job_id
from jobs.output.status import JobStatus, State
from jobs.output.status_file import read_state
from jobs.resolution import Job
from jobs.storage.storage_at import storage_at
from tests.unit.jobs.local import LocalDispatcher, bytes_of, local_job, retry, run, write_prompts


def status_of(job: Job) -> JobStatus:
    found = read_state(storage_at(job.output.path))
    assert found is not None
    assert found.status is not None
    return found.status


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return local_job(write_prompts(tmp_path / "p.csv", 100), tmp_path / "out")


class Stopped(LocalDispatcher):
    """Somebody stops the job when `when` is so, at the next look; then only files are made."""

    def __init__(self, job: Job, when: Callable[[Stopped], bool], drain_seconds: float) -> None:
        super().__init__(job)
        self.when, self.drain_seconds, self.drains = when, drain_seconds, False

    def wait(self, timeout_seconds: float) -> Any:
        if not self.drains and self.when(self):
            raise InterruptedJobError("stopped. Finished parts are safe.")
        return super().wait(timeout_seconds) if self._queue else []

    def drain(self) -> None:
        self.drains = True
        kept = [
            pair for pair in self._queue if "encode" in pair[1].stage or "commit" in pair[1].stage
        ]
        self._queue.clear()
        self._queue.extend(kept)

    def send(self, owner: Any, call: Any) -> None:
        if not self.drains or _is_of_files(call):
            super().send(owner, call)


def _is_of_files(call: Call) -> bool:
    return STAGES[call.stage].pool == FILE_POOL


def test_a_job_says_that_it_runs_and_then_how_it_ended(job: Job) -> None:
    seen: list[JobStatus] = []

    class Watching(LocalDispatcher):
        def wait(self, timeout_seconds: float) -> Any:
            seen.append(status_of(self.job))
            return super().wait(timeout_seconds)

    attempt = Attempt(submission_id="bottega-x", labels={"team": "a"})
    run_job(job, lambda _: Watching(job), attempt=attempt)  # type: ignore[arg-type,return-value]
    assert {status.state for status in seen} == {State.RUNNING}
    end = status_of(job)
    assert (end.state, end.exit_code, end.id) == (State.SUCCEEDED, 0, job_id(job.spec))
    assert (end.submission_id, end.labels, end.work) == ("bottega-x", {"team": "a"}, "run")
    assert end.progress is not None
    assert (end.progress.done_rows, end.progress.parts_done) == (100, 25)
    assert end.ended_at is not None
    assert end.ended_at >= end.started_at


def test_a_job_that_fails_says_why_and_the_next_attempt_is_counted(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 8)
    job = local_job(source, tmp_path / "out", max_failed=0.1)
    with pytest.raises(TooManyFailuresError):
        run(job, LocalDispatcher(job, broken=frozenset({"picture 1", "picture 2"})))
    failed = status_of(job)
    assert (failed.state, failed.exit_code, failed.attempt) == (State.FAILED, 1, 1)
    assert "1 of 8 rows failed" in failed.reason
    job = local_job(source, tmp_path / "out", max_failed=0.9)
    run(job)
    assert (status_of(job).state, status_of(job).attempt) == (State.SUCCEEDED, 2)
    retry(job)
    assert (status_of(job).work, status_of(job).attempt) == ("retry", 3)


def test_a_refused_job_does_not_touch_the_state_of_the_one_that_is_there(job: Job) -> None:
    run(job)
    before = status_of(job)
    other = local_job(Path(job.spec.input), job.output.path, seed=8)
    with pytest.raises(Exception, match="holds another job"):
        run(other)
    assert status_of(job) == before


def _a_part_is_decided(dispatcher: Stopped) -> bool:
    """Of the first open part only the last commit is left to do."""
    return any(call.stage is Stage.COMMIT for _, call in dispatcher._queue)


def test_a_stop_commits_what_is_decided_and_opens_nothing_new(job: Job, tmp_path: Path) -> None:
    undisturbed = local_job(Path(job.spec.input), tmp_path / "undisturbed")
    run(undisturbed)
    with pytest.raises(InterruptedJobError, match="Finished parts are safe"):
        run(job, Stopped(job, _a_part_is_decided, drain_seconds=1e9))
    assert job.output.records(), "the part whose rows were all decided is there"
    assert len(job.output.records()) < 25
    end = status_of(job)
    assert (end.state, end.exit_code) == (State.CANCELLED, 4)
    assert end.reason == "stopped. Finished parts are safe."
    assert end.progress is not None
    assert end.progress.parts_done == len(job.output.records())
    run(job)
    assert bytes_of(job) == bytes_of(undisturbed)


def test_a_stop_has_a_limit(job: Job) -> None:
    lost = r"are safe\. [1-9]\d* judged rows of unfinished parts will be drawn again\."
    with pytest.raises(InterruptedJobError, match=lost):
        run(job, Stopped(job, _a_part_is_decided, drain_seconds=0.0))
    assert not job.output.records()
