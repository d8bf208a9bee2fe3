"""Calls the hooks of a job file when its job has ended: `after.on_success` and `on_failure`.

They run in the driver's process tree: on this machine by `bottega run`, on the cluster's head by
`bottega submit`, after the status was written and Ray was left. What a hook prints goes to the log;
how it ends changes neither the job's state nor its exit code.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Thread, Timer
from typing import IO, Any

import typer

from actors.errors import BottegaError, OutputError, StorageError
from actors.redact import redacted
from cluster.signals import stopping_at_once
from cluster.submission.decision import Standing
from cluster.submission.find import FoundJob
from jobs import JobSpec
from jobs.execution.attempt import Attempt
from jobs.job_id import absolute, job_id
from jobs.output.status import JobStatus, OutputState, Work, ending
from jobs.output.status_file import read_state
from jobs.storage.storage_at import storage_at

log = logging.getLogger("bottega.hook")

INTERRUPTED = 130
"""The exit code of Ctrl-C: a person is there, and has to be told nothing."""

MOST_LINES, MOST_LINE = 200, 2_000
"""Of a hook's output in the log: a page or two, in lines of some length."""

PIPE_SECONDS = 2.0
"""For the rest of its output, once a hook has ended: a process that it left may keep the pipe."""


class NothingToDo(typer.Exit):
    """The command ends well, and there was no job of which somebody had to be told."""


@contextmanager
def hooks_of(spec: JobSpec, attempt: Attempt, work: Work = "run") -> Iterator[None]:
    """Call the hook that fits how the block ends. It may end by an error, or a `typer.Exit`."""
    started = datetime.now(UTC)
    try:
        yield
    except NothingToDo:
        raise
    except BaseException as error:
        code = _exit_code(error)
        if code != INTERRUPTED:
            _call_for(spec, attempt, work, started, error if code else None, code)
        raise
    _call_for(spec, attempt, work, started, None, 0)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, BottegaError | typer.Exit):
        return error.exit_code
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _call_for(
    spec: JobSpec,
    attempt: Attempt,
    work: Work,
    started: datetime,
    error: BaseException | None,
    code: int,
) -> None:
    name = "on_failure" if code else "on_success"
    command = spec.after.on_failure if code else spec.after.on_success
    if command:
        job = _as_json(spec, attempt, work, started, error, code)
        with stopping_at_once():
            call_hook(name, command, job, spec.after.hook_timeout_seconds)


def _as_json(
    spec: JobSpec,
    attempt: Attempt,
    work: Work,
    started: datetime,
    error: BaseException | None,
    code: int,
) -> dict[str, Any]:
    """The job as `bottega status --json` has it, with the exit code of this command."""
    output, state = absolute(spec.output), None
    with suppress(StorageError, OutputError):
        state = read_state(storage_at(output))
    status = state.status if state else None
    if status is None or (status.host, status.pid) != (platform.node(), os.getpid()):
        # It ended before it had an output of its own, as with an input that is not there.
        identity = attempt.job_id or job_id(spec, attempt.run_for)
        status = JobStatus.model_validate(
            {
                **{"id": identity, "name": spec.name, "work": work, "started_at": started},
                **{"attempt": attempt.number or 1, "submission_id": attempt.submission_id},
                **{"run_for": attempt.run_for, "labels": dict(attempt.labels)},
                **{"heartbeat_at": started, "host": platform.node(), "pid": os.getpid()},
                **{**ending(error), "ended_at": datetime.now(UTC)},
            }
        )
        state = OutputState(status.state, status.reason, status)
    assert state is not None
    standing = Standing(state.state, state.reason)
    found = FoundJob(status.id, spec.name, output, None, state, standing).as_json()
    return {**found, "submission_id": status.submission_id or None, "exit_code": code}


def call_hook(
    name: str, command: Sequence[str], job: Mapping[str, Any], timeout_seconds: float
) -> int | None:
    """Call a hook with a job on its stdin, and log what it prints. Returns its exit code; None for
    one that did not start, or was killed after `timeout_seconds`."""
    shown = f"{name} ({command[0]})"
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment(os.environ), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        log.warning("%s was not called: %s. The job stays as it is.", shown, error)
        return None
    assert process.stdin is not None
    assert process.stdout is not None
    reader = Thread(target=_log_lines, args=(name, process.stdout), daemon=True)
    reader.start()
    content = json.dumps(redacted(dict(job)), indent=2).encode() + b"\n"
    writer = Thread(target=_feed, args=(process.stdin, content), daemon=True)
    writer.start()
    too_long = Timer(timeout_seconds, _kill, [process])
    too_long.start()
    try:
        code = process.wait()
    finally:
        is_late = not too_long.is_alive()
        too_long.cancel()
        _kill(process)  # and what it left
        process.wait()
        reader.join(PIPE_SECONDS)
    if is_late:
        log.warning("%s was killed: it took more than %g s.", shown, timeout_seconds)
        return None
    if code:
        log.warning("%s ended with %d. The job stays as it is.", shown, code)
    else:
        log.info("%s ended well", shown)
    return code


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The hook and all that it started, but for what left its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, without Ray's variables: the token of a cluster is among them."""
    return {name: value for name, value in ours.items() if not name.startswith("RAY_")}


def _feed(stdin: IO[bytes], content: bytes) -> None:
    """A hook need not read what it is given."""
    with suppress(OSError):
        stdin.write(content)
    with suppress(OSError):
        stdin.close()


def _log_lines(name: str, stdout: IO[bytes]) -> None:
    """The first lines go to the log; the rest is read, so that the hook goes on, and counted."""
    number = 0
    while line := stdout.readline(MOST_LINE):
        number += 1
        if number <= MOST_LINES:
            log.info("%s: %s", name, line.decode(errors="replace").rstrip())
    if number > MOST_LINES:
        log.info("%s: %d more lines", name, number - MOST_LINES)
