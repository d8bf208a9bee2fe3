"""The rest of a job in whole calls: exact where it can be computed by hand."""

from __future__ import annotations

from math import inf

import pytest

from jobs.scaling.rest import MOST_GROUPS, draw, groups_of, refine, serve, take


def ends(calls: int, waiting: int, drawn: list[tuple[float, int]], **pools: object) -> float:
    teachers, more = pools.get("teachers", []), pools.get("more", [])
    return refine([(1.0, calls)], waiting, drawn, teachers, more, 10.0)  # type: ignore[arg-type]


def test_many_actors_are_counted_in_few_groups() -> None:
    assert groups_of([0.0] * 1000) == [(0.0, 1000)]
    groups = groups_of([float(n) for n in range(1000)])
    assert len(groups) == MOST_GROUPS
    assert sum(count for _, count in groups) == 1000
    assert groups_of([]) == []
    assert take([(5.0, 2), (1.0, 3)], 4) == ([(1.0, 3), (5.0, 1)], [(5.0, 1)])
    assert take([(5.0, 2)], -1) == ([], [(5.0, 2)]), (
        "whoever is to give more than it has gives none"
    )


def test_whoever_is_free_first_draws_the_next_call() -> None:
    students = [(0.0, 2), (3.0, 1)]
    assert draw(students, 5, 2.0) == [(2.0, 2), (4.0, 4), (5.0, 5)]
    assert sorted(students) == [(4.0, 2), (5.0, 1)]
    assert draw([], 5, 2.0) == [(inf, 5)], "without students never"


def test_a_last_round_for_some_makes_no_students_more() -> None:
    """Draws may go on afterwards, with other students."""
    students = [(0.0, 32)]
    assert draw(students, 125, 2.0)[-1] == (8.0, 125)
    assert sorted(students) == [(6.0, 3), (8.0, 29)]
    assert draw(students, 3 + 29 + 32, 2.0)[-1] == (12.0, 64)


def test_teachers_go_on_until_some_of_them_leave() -> None:
    """A call comes at 10, 20, 30 and 40 s, and takes 15 s."""
    drawn = draw([(0.0, 1)], 4, 10.0)
    served = serve(4, 0, drawn, [(0.0, 2)], 15.0)
    assert (served.given, served.end) == (3, 45.0), "the fourth comes as the drawing ends"
    assert sorted(served.teachers) == [(40.0, 1), (45.0, 1)]
    again = serve(4, 0, drawn, [(0.0, 2)], 15.0, given=2)
    assert (again.given, again.end) == (3, 45.0), "two were taken before"
    assert serve(6, 6, drawn, [(0.0, 1)], 15.0).all_that_came is False


def test_teachers_take_what_has_come_and_wait_for_the_rest() -> None:
    """Four calls come with the second, fourth, sixth and eighth drawn call: at 20, 40, 60, 80 s."""
    drawn = draw([(0.0, 1)], 8, 10.0)
    assert ends(4, 0, drawn, teachers=[(0.0, 1)]) == 90.0
    assert ends(4, 3, drawn, teachers=[(0.0, 1)]) == 90.0
    assert ends(4, 8, drawn, teachers=[(0.0, 1)]) == 120.0, "twelve calls, one after the other"


def test_more_teachers_come_when_all_is_drawn_if_they_help() -> None:
    drawn = draw([(0.0, 4)], 8, 10.0)
    assert ends(8, 0, drawn, more=[(25.0, 4)]) == 25.0 + 2 * 10.0
    assert ends(1, 0, drawn, teachers=[(0.0, 1)], more=[(1000.0, 4)]) == 30.0
    assert ends(1, 0, drawn) == inf, "nobody refines"
    assert ends(0, 0, drawn) == 20.0


def test_one_call_more_than_there_are_teachers_is_a_round_more() -> None:
    """So the mean over what may come counts, and not what is expected."""
    drawn = draw([(0.0, 4)], 4, 10.0)
    numbers = [(0.25, 3), (0.5, 4), (0.25, 5)]
    assert refine(numbers, 0, drawn, [(0.0, 4)], [], 10.0) == pytest.approx(20.0 + 0.25 * 10.0)
