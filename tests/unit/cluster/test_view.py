"""What a person sees of a running job."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table

from cluster.views.progress import JobView, duration, line, render
from jobs.execution.dispatcher import PoolView
from jobs.execution.progress import Progress

PROGRESS = Progress(
    num_rows=1000,
    done_rows=300,
    resumed_rows=100,
    failed_rows=2,
    judged_rows=400,
    rejected_rows=100,
    refined_rows=50,
    parts_done=3,
    num_parts=10,
    elapsed_seconds=35.0,
    seconds_left=55.0,
    pools=[
        PoolView("student", size=1, ready=1, busy=1, queued=4),
        PoolView("oracle", size=1, ready=1, busy=0, queued=0),
        PoolView("teacher", size=3, ready=2, busy=2, queued=9, leaving=1),
    ],
    balance="p 0.25: the teachers run out",
)


def shown(terminal: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=120)
    with JobView("shapes-demo", console) as view:
        view(PROGRESS)
        view(PROGRESS)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_rates_are_those_of_this_run() -> None:
    # 300 accepted and 50 refined rows in 35 s.
    assert PROGRESS.rows_per_second == pytest.approx(10.0)
    assert PROGRESS.accepted_fraction == 0.75
    assert PROGRESS.refined_fraction == 0.125


def test_a_run_that_has_just_begun_knows_no_rates() -> None:
    start = Progress(
        num_rows=10, done_rows=0, resumed_rows=0, failed_rows=0, judged_rows=0, rejected_rows=0,
        refined_rows=0, parts_done=0, num_parts=1, elapsed_seconds=0.0,
    )  # fmt: skip
    assert start.rows_per_second == 0
    assert start.seconds_left is None
    assert "not known yet" in line(start)


def test_the_live_view_shows_rows_fractions_rate_pools_and_time_left() -> None:
    console = Console(file=StringIO(), width=120)
    console.print(render("shapes-demo", PROGRESS))
    assert isinstance(console.file, StringIO)
    lines = [row.rstrip() for row in console.file.getvalue().splitlines()]
    assert lines[0] == "shapes-demo  450 of 1,000 rows, 3 of 10 parts written"
    # 100 resumed, 300 accepted and 50 refined of 1,000.
    assert lines[1] == "━" * 27  # of 60
    assert lines[2:4] == [
        "of 400 judged: accepted 75%, refined 12%, waiting for the teacher 12%",
        "failed 2; 10.00 rows/s, 35 s so far, time left 55 s",
    ]
    rows = {row.split()[0]: row.split()[1:] for row in lines[4:]}
    assert rows["student"] == ["1/1", "1", "4", "working"]
    assert rows["oracle"] == ["1/1", "0", "0", "idle"]
    assert rows["teacher"] == ["2/3", "2", "9", "loading,", "1", "leaving"]
    assert "sizes: p 0.25: the teachers run out" in lines[-1]


@given(
    done=st.integers(0, 1000),
    resumed=st.integers(0, 1000),
    judged=st.integers(0, 1000),
    rejected=st.integers(0, 1000),
    refined=st.integers(0, 1000),
)
def test_the_bar_is_the_ratio_beside_it(
    done: int, resumed: int, judged: int, rejected: int, refined: int
) -> None:
    progress = replace(
        PROGRESS, done_rows=done, resumed_rows=resumed, judged_rows=judged,
        rejected_rows=min(rejected, judged), refined_rows=min(refined, rejected, judged),
    )  # fmt: skip
    console = Console(file=StringIO(), width=120)
    shown = render("shapes-demo", progress)
    console.print(shown)
    assert isinstance(shown, Group)
    grid = shown.renderables[1]
    assert isinstance(grid, Table)
    (bar,) = grid.columns[0].cells
    assert isinstance(bar, ProgressBar)
    assert isinstance(console.file, StringIO)
    said = console.file.getvalue().split()[1].replace(",", "")
    assert (bar.completed, bar.total) == (int(said), 1000)


def test_while_it_calibrates_the_view_tells_what_the_pools_do() -> None:
    loading = [PoolView("student", size=2, ready=1, busy=1, queued=3)]
    calibrating = replace(PROGRESS, num_rows=64, calibrating=True, pools=loading)
    console = Console(file=StringIO(), width=120)
    console.print(render("shapes-demo", calibrating))
    assert isinstance(console.file, StringIO)
    first, _, pool = console.file.getvalue().splitlines()
    assert "shapes-demo: calibrating on a sample of 64 rows" in first
    assert pool.split() == ["student", "1/2", "1", "3", "loading"]
    shown = line(calibrating)
    assert shown == "calibrating on a sample of 64 rows  [student 1/2 ready, 3 queued]"


def test_the_view_says_for_what_the_job_waits_and_who_has_it() -> None:
    said = "waiting for 2 GPUs: 6 of 8 are in use by others"
    pools = [PoolView("teacher", size=2, ready=0, busy=0, queued=9, waiting=2)]
    for progress in (PROGRESS, replace(PROGRESS, calibrating=True)):
        waiting = replace(progress, waiting=said, pools=pools)
        console = Console(file=StringIO(), width=120)
        console.print(render("shapes-demo", waiting))
        assert isinstance(console.file, StringIO)
        assert said in console.file.getvalue()
        assert "waiting for a place" in console.file.getvalue()
        assert said in line(waiting)


def test_without_a_terminal_plain_lines_come_seldom() -> None:
    text = shown(terminal=False)
    assert text.count("rows 300/1000") == 1
    assert "\x1b" not in text
    assert "accepted 75%  refined 12%" in text
    assert "[student 1/1 busy, 4 queued, oracle 0/1 busy, 0 queued, teacher 2/3 ready" in text


def test_a_terminal_gets_the_live_view_and_keeps_nothing_of_it() -> None:
    text = shown(terminal=True)
    assert "\x1b" in text
    assert text.index("shapes-demo: starting") < text.index("450 of 1,000 rows")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "not known yet"),
        (0.4, "0 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (18720, "5 h 12 min"),
    ],
)
def test_durations_are_for_people(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said
