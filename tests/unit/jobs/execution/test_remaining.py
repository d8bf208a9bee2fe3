"""The time that is left: by arithmetic, and against jobs on the virtual clock."""

from __future__ import annotations

from math import inf

import pytest

from jobs.execution.progress import Progress
from jobs.execution.remaining import StageLeft, seconds_left
from tests.unit.jobs.timed_runs import timed_run


def stage(rows: float, row_seconds: float, actors: int, busy: int = 0) -> StageLeft:
    return StageLeft(rows=rows, row_seconds=row_seconds, call_rows=10, actors=actors, busy=busy)


ORACLE = stage(0, 0.0, 1)


def left(student: StageLeft, teacher: StageLeft, fixed: bool = True, load: float = 0.0) -> float:
    found = seconds_left(student, ORACLE, teacher, load_seconds=load, sizes_may_change=not fixed)
    assert found is not None
    return found


def test_everybody_waits_for_the_teachers_of_a_fixed_split() -> None:
    # 100 rows of 4 s on 2 teachers, and half of a call of 40 s.
    assert left(stage(100, 0.1, 2), stage(100, 4.0, 2)) == 200 + 20


def test_nothing_left_takes_no_time() -> None:
    assert left(stage(0, 0.1, 2), stage(0, 4.0, 2)) == 0


def test_calls_under_way_are_half_done() -> None:
    assert left(stage(0, 0.1, 2), stage(20, 4.0, 2, busy=2)) == 20 + 20


def test_devices_that_change_hands_share_the_rest_and_load() -> None:
    assert left(stage(0, 0.1, 2), stage(100, 4.0, 2), fixed=False) == 100 + 20
    assert left(stage(0, 0.1, 2), stage(100, 4.0, 2), fixed=False, load=50) == 125 + 20
    # Loading for longer than the teachers take alone helps nobody.
    assert left(stage(0, 0.1, 2), stage(100, 4.0, 2), fixed=False, load=1000) == 200 + 20


def test_a_pool_with_work_and_no_actors_says_nothing() -> None:
    no_teacher = stage(100, 4.0, 0)
    assert (
        seconds_left(stage(0, 0.1, 2), ORACLE, no_teacher, load_seconds=1, sizes_may_change=False)
        is None
    )


@pytest.mark.parametrize("sizes", [None, (1, 1, 7), (2, 1, 6), (4, 1, 4)])
@pytest.mark.parametrize("rejected", [0.1, 0.3, 0.7])
def test_at_every_quarter_the_time_left_is_near_the_truth(
    rejected: float, sizes: tuple[int, int, int] | None
) -> None:
    seen: list[Progress] = []

    def watch(event: object) -> None:
        if isinstance(event, Progress):
            seen.append(event)

    run = timed_run(num_rows=8192, rejected=rejected, sizes=sizes, observers=[watch])
    for quarter in (0.25, 0.5, 0.75):
        progress = next(one for one in seen if one.elapsed_seconds >= quarter * run.seconds)
        truth = run.seconds - progress.elapsed_seconds
        assert progress.seconds_left == pytest.approx(truth, rel=0.2), quarter
    last = seen[-1]
    assert last.seconds_left is not None
    assert last.seconds_left < inf
    assert abs(last.seconds_left - (run.seconds - last.elapsed_seconds)) < 15
