"""What `bottega wait` and `bottega submit --wait` share: they follow jobs to their end."""

from __future__ import annotations

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
    jobs: Sequence[str], connect: Connect, timeout: str | None, strict_rows: bool, as_json: bool
) -> None:
    """Follow these jobs, one after the other; exits with the first code that is not 0."""
    from jobs.planning.prices import read_duration

    seconds = read_duration(timeout, "--timeout") if timeout else None
    ended: list[FoundJob] = []
    try:
        with JobsView(errors) as view:
            for job in jobs:
                ended.append(follow(Watch(job, connect), view, seconds))
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
