"""The view of a running job: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from actors.counted import counted
from cluster.printable import one_line
from jobs import Progress
from jobs.spec.ladder import by_attempt

PLAIN_SECONDS = 10.0
"""Between two lines without a terminal. Chosen: that is 360 lines of log in an hour."""


class JobView:
    """A context manager, and an observer of a job that shows its progress."""

    def __init__(
        self, name: str, console: Console, log: Callable[[str], None] | None = None
    ) -> None:
        """`log`: takes the lines in place of the console, on which nothing is shown then."""
        self._name, self._console, self._log = name, console, log
        self._is_live = console.is_terminal and log is None
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._next_line = 0.0

    def __enter__(self) -> JobView:
        if self._is_live:
            # Shown until the first progress comes: Ray and the actors take a while to start.
            self._live.update(Spinner("dots", Text(f"{self._name}: starting")))
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, event: object) -> None:
        """Show the progress; the other events are for the log."""
        if not isinstance(event, Progress):
            return
        progress = event
        if self._is_live:
            self._live.update(render(self._name, progress))
        elif monotonic() >= self._next_line:
            self._next_line = monotonic() + PLAIN_SECONDS
            if self._log:
                self._log(line(progress))
                return
            # Brackets are markup to rich, and would vanish with what is in them.
            self._console.print(line(progress), soft_wrap=True, highlight=False, markup=False)


def line(progress: Progress) -> str:
    """One line, for logs."""
    pools = ", ".join(
        f"{p.name} {p.busy}/{p.size} busy, {p.queued} queued"
        if p.ready == p.size
        else f"{p.name} {p.ready}/{p.size} ready, {p.queued} queued"
        for p in progress.pools
        if p.size or not progress.calibrating  # `bottega calibrate` has no teacher
    )
    if progress.waiting:
        pools += f"; {progress.waiting}"
    if progress.calibrating:
        return f"calibrating on a sample of {counted(progress.num_rows, 'row')}  [{pools}]"
    how = f"refined {progress.refined_fraction:.0%}"
    if progress.rungs:
        how = f"attempts {'/'.join(map(str, progress.rungs))}"
    return (
        f"rows {progress.done_rows}/{progress.num_rows}  judged {progress.judged_rows}  "
        f"accepted {progress.accepted_fraction:.0%}  {how}  "
        f"failed {progress.failed_rows}  {progress.rows_per_second:.2f} rows/s  "
        f"elapsed {duration(progress.elapsed_seconds)}  left {duration(progress.seconds_left)}  "
        f"[{pools}]"
    )


def render(name: str, progress: Progress) -> RenderableType:
    """The live table. Its texts may be those of somebody else's output."""
    name = one_line(name)
    pools = Table(box=None, pad_edge=False)
    for title in ("pool", "actors", "busy", "queued", "doing"):
        pools.add_column(title, justify="right" if title in ("busy", "queued") else "left")
    for pool in progress.pools:
        doing = "loading" if pool.ready < pool.size else "working" if pool.busy else "idle"
        if pool.ready < pool.size <= pool.ready + pool.waiting:
            doing = "waiting for a place"
        doing += f", {pool.leaving} leaving" if pool.leaving else ""
        pools.add_row(
            Text(one_line(pool.name)),
            f"{pool.ready}/{pool.size}",
            str(pool.busy),
            str(pool.queued),
            doing,
        )
    waiting = [Text(one_line(progress.waiting))] if progress.waiting else []
    if progress.calibrating:
        title = f"{name}: calibrating on a sample of {counted(progress.num_rows, 'row')}"
        return Group(Spinner("dots", Text(title)), pools, *waiting)
    head = Text.assemble(
        (f"{name}  ", "bold"),
        f"{progress.through_rows:,} of {progress.num_rows:,} rows, "
        f"{progress.parts_done:,} of {progress.num_parts:,} parts written",
    )
    bar = Table.grid()  # a bar alone does not end its line
    bar.add_row(
        ProgressBar(
            total=max(1, progress.num_rows),
            completed=progress.through_rows,
            width=60,
        )
    )
    unrefined = 1 - progress.accepted_fraction - progress.refined_fraction
    ways = f"refined {progress.refined_fraction:.0%}, waiting for the teacher {abs(unrefined):.0%}"
    if progress.rungs:
        ways = (
            f"tried again {progress.refined_fraction:.0%}, still at it {abs(unrefined):.0%}; "
            f"{by_attempt(progress.rungs)}"
        )
    facts = Text(
        f"of {progress.judged_rows:,} judged: accepted {progress.accepted_fraction:.0%}, {ways}\n"
        f"failed {progress.failed_rows:,}; {progress.rows_per_second:.2f} rows/s, "
        f"{duration(progress.elapsed_seconds)} so far, time left {duration(progress.seconds_left)}"
    )
    balance = [Text(one_line(f"sizes: {progress.balance}"))] if progress.balance else []
    return Group(head, bar, facts, pools, *waiting, *balance)


def duration(seconds: float | None) -> str:
    """Seconds for people: `42 s`, `3 min 20 s`, `5 h 12 min`."""
    if seconds is None:
        return "not known yet"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
