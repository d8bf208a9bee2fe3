"""What `bottega wait` and `bottega submit --wait` share: they follow jobs to their end."""

from __future__ import annotations

import time
from collections.abc import Sequence

import typer

from cluster.cli.options import ROWS_FAILED
from cluster.console import errors, print_json, say
from cluster.submission.connect import Connect
from cluster.submission.find import FoundJob
from cluster.submission.follow import WaitedTooLong, Watch, follow
from cluster.views.jobs import JobsView, describe
from jobs.output.status import State

TIMED_OUT, DETACHED = 124, 130
"""Exit codes: as of `timeout`, and as of a shell's Ctrl-C."""


def follow_to_the_end(
    jobs: Sequence[str],
    connect: Connect,
    timeout: str | None,
    strict_rows: bool,
    as_json: bool,
    *,
    are_known: bool = False,
) -> None:
    """Follow these jobs, one after the other; exits with the first code that is not 0.

    are_known: they were seen a moment ago. Else each is looked for first, so that who waits for one
    that there is not, or at an address without a cluster, is told at once.
    """
    from jobs.planning.prices import read_duration

    seconds = read_duration(timeout, "--timeout") if timeout else None
    until = None if seconds is None else time.monotonic() + seconds
    ended: list[FoundJob] = []
    try:
        watches = [Watch(job, connect) for job in jobs]
        if not are_known:
            for watch in watches:
                watch()
        with JobsView(errors) as view:
            for watch in watches:
                left = None if until is None else max(0.0, until - time.monotonic())
                ended.append(follow(watch, view, left))
    except WaitedTooLong:
        say(f"not ended within {timeout}; the job goes on", errors)
        raise typer.Exit(TIMED_OUT) from None
    except KeyboardInterrupt:
        names = " ".join(jobs)
        say(f"detached; the job goes on. `bottega cancel {names}` stops it.", errors)
        raise typer.Exit(DETACHED) from None
    for found in ended:
        for text in describe(found):
            say(text, errors)
    if as_json:
        print_json(ended[0].as_json() if len(ended) == 1 else [one.as_json() for one in ended])
    codes = [exit_code(found, strict_rows) for found in ended]
    if code := next(filter(None, codes), 0):
        raise typer.Exit(code)


def exit_code(job: FoundJob, strict_rows: bool) -> int:
    """The exit code of a job that was waited for."""
    progress = job.status.progress if job.status else None
    if strict_rows and job.state is State.SUCCEEDED and progress and progress.failed_rows:
        return ROWS_FAILED
    return job.exit_code
