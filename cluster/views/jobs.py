"""Views of jobs that run elsewhere: one job in some lines, many in a table, one live."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.console import say
from cluster.printable import one_line
from cluster.submission.find import FoundJob, iso
from cluster.views.progress import PLAIN_SECONDS, duration, line, render
from jobs import Progress
from jobs.execution.progress import PoolView
from jobs.output.status import State


def progress_of(job: FoundJob) -> Progress | None:
    """The progress that the job's driver wrote last."""
    written = job.status.progress if job.status else None
    if written is None:
        return None
    fields = written.model_dump()
    return Progress(**{**fields, "pools": [PoolView(**pool) for pool in fields["pools"]]})


def describe(job: FoundJob) -> list[str]:
    """A job in some lines."""
    attempt = job.as_json()["attempt"] or 1
    head = f"{job.name}: {job.state}"
    if attempt > 1:
        head += f", attempt {attempt}"
    lines = [head + (f" ({job.standing.reason.rstrip('.')})" if job.standing.reason else "")]
    progress = progress_of(job)
    if progress:
        lines.append(line(progress))
    if job.id:
        lines.append(f"id: {job.submission.submission_id if job.submission else job.id}")
    if job.output:
        lines.append(f"output: {job.output}")
    status = job.status
    if status:
        when = f"began {iso(status.started_at)}, on {status.host}"
        if status.ended_at:
            when += f", ended {iso(status.ended_at)}"
        elif job.output_state:
            when += f", last heard of {duration(job.output_state.silent_seconds)} ago"
        lines.append(when)
    if job.state in (State.FAILED, State.CANCELLED, State.LOST):
        lines.append("finished parts are safe: the same `bottega submit` goes on from them")
    return lines


def table(jobs: Iterable[FoundJob]) -> Table:
    """Many jobs, a line each."""
    shown = Table(box=None, pad_edge=False)
    for title in ("id", "state", "rows", "failed", "rows/s", "left", "for what it waits"):
        right = title in ("rows", "failed", "rows/s", "left")
        shown.add_column(title, justify="right" if right else "left", overflow="fold")
    for job in jobs:
        progress = progress_of(job)
        name = job.submission.submission_id if job.submission else job.id
        cells = ["", "", "", ""]
        if progress and not progress.calibrating:
            cells = [
                f"{progress.through_rows:,}/{progress.num_rows:,}",
                f"{progress.failed_rows:,}",
                f"{progress.rows_per_second:.2f}",
                duration(progress.seconds_left) if job.state.is_active else "",
            ]
        shown.add_row(
            Text(one_line(name)), job.state.value, *cells, Text(one_line(job.standing.reason))
        )
    return shown


class JobsView:
    """A context manager that shows a job which runs elsewhere, each time that it is called."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._next_line = 0.0
        self._said = ""

    def __enter__(self) -> JobsView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, job: FoundJob) -> None:
        """Show it: live on a terminal, elsewhere a line when its state changes and now and then."""
        progress = progress_of(job)
        if self._console.is_terminal:
            if progress and job.state.is_active:
                self._live.start()
                self._live.update(render(job.name, progress))
            return
        text = f"{job.name}: {job.state}"
        if text != self._said or monotonic() >= self._next_line:
            self._said, self._next_line = text, monotonic() + PLAIN_SECONDS
            more = line(progress) if progress and job.state.is_active else job.standing.reason
            say(f"{text}  {more}".rstrip(), self._console)
