"""What somebody else's job or output says is shown, and obeyed by no terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

from rich.console import Console

from cluster.console import say
from cluster.submission.decision import RayStatus, Standing, Submission
from cluster.submission.find import FoundJob
from cluster.views.jobs import JobsView, describe, table
from cluster.views.progress import render
from jobs import Progress
from jobs.execution.progress import PoolView
from jobs.output.status import State

EVIL = "na\x1b]0;title\x07me\u202e\nbottega: all is well [red]"


def shown() -> tuple[Console, StringIO]:
    file = StringIO()
    return Console(file=file, width=200), file


def evil_job() -> FoundJob:
    submission = Submission(
        submission_id=f"bottega-{EVIL}",
        ray_status=RayStatus.RUNNING,
        submitted_at=datetime.now(UTC),
    )
    return FoundJob("bottega-x", EVIL, "out", submission, None, Standing(State.RUNNING, EVIL))


def assert_harmless(text: str) -> None:
    assert "\x1b]0" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert not [line for line in text.splitlines() if line.startswith("bottega: all is well")]
    assert "\\u202e" in text
    assert "[red]" in text


def test_a_list_shows_it() -> None:
    console, file = shown()
    console.print(table([evil_job()]))
    assert_harmless(file.getvalue())


def test_a_line_shows_it() -> None:
    console, file = shown()
    with JobsView(console) as view:
        view(evil_job())
    assert_harmless(file.getvalue())


def test_the_live_view_shows_it() -> None:
    console, file = shown()
    pools = [PoolView(name=EVIL, size=1, ready=1, busy=0, queued=0)]
    console.print(render(EVIL, Progress.of_calibration(8, pools, EVIL)))
    assert_harmless(file.getvalue())


def test_a_description_is_said_line_by_line() -> None:
    console, file = shown()
    for text in describe(evil_job()):
        say(text, console)
    assert_harmless(file.getvalue())
