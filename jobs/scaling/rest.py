"""The rest of a job in whole calls: when does it end with these actors? Pure.

Students draw call after call. What is rejected waits for the teachers, who take whole calls in the
order in which these come; when everything is drawn more teachers come. Actors that are free at the
same time are counted, not listed, so that a thousand of them cost no more than ten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import groupby, pairwise
from math import inf
from typing import NamedTuple

Group = tuple[float, int]
"""Seconds until some actors are free, and how many they are."""

MOST_GROUPS = 24
"""Of one pool. Chosen: times within a 24th of a pool's actors are alike, and a decision takes some
milliseconds."""


def groups_of(free_in: Sequence[float]) -> list[Group]:
    """At most MOST_GROUPS groups of these actors, each with the time of its middle one."""
    ordered = sorted(free_in)
    number = min(len(ordered), MOST_GROUPS)
    bounds = [round(place * len(ordered) / number) for place in range(number + 1)] if number else []
    middles = [(ordered[(low + high) // 2], high - low) for low, high in pairwise(bounds)]
    return [
        (free, sum(count for _, count in alike))
        for free, alike in groupby(middles, key=lambda group: group[0])
    ]


def take(groups: Sequence[Group], count: int) -> tuple[list[Group], list[Group]]:
    """The first `count` actors to be free, none for less than 0, and the others."""
    taken, others, count = [], [], max(0, count)
    for free, number in sorted(groups):
        some = min(count, number)
        count -= some
        if some:
            taken.append((free, some))
        if number > some:
            others.append((free, number - some))
    return taken, others


def draw(students: list[Group], calls: int, each: float) -> list[Group]:
    """When calls end, ascending, each time with the calls that have ended by then.

    `students` are then free after their last calls. Without any the calls never end.
    """
    if not calls:
        return []
    if not students:
        return [(inf, calls)]
    heapify(students)
    found, done = [], 0
    while done < calls:
        free, number = heappop(students)
        some = min(number, calls - done)
        if number > some:
            heappush(students, (free, number - some))
        done += some
        found.append((free + each, done))
        heappush(students, (free + each, some))
    return found


def come_by(drawn: float, early: float) -> float:
    """The part of the rejected calls that has come when a part `drawn` of the draws is done.

    early: the part that comes with the first half of the draws; evenly, and so do the others.
    """
    return 2 * early * drawn if drawn <= 0.5 else early + (1 - early) * (2 * drawn - 1)


class Served(NamedTuple):
    """Calls that teachers took: `given` in all, the `end` of the last, whether they took
    `all_that_came`, and when the teachers are free."""

    given: int
    end: float
    all_that_came: bool
    teachers: list[Group]


def serve(
    calls: int,
    waiting: int,
    drawn: Sequence[Group],
    teachers: Sequence[Group],
    each: float,
    given: int = 0,
    *,
    early: float = 0.5,
) -> Served:
    """The teachers take calls until the last of `drawn` ends.

    calls: how many there will be, of which some are `waiting`; the others come with the drawn ones
    that are in `drawn`, a part `early` with the first half. given: those that were taken before.
    """
    ends, draws = drawn[-1]
    arriving, come, lanes = calls - waiting, waiting, list(teachers)
    heapify(lanes)
    last, place, idle = 0.0, 0, 0
    while given < calls and lanes and lanes[0][0] < ends:
        free, number = heappop(lanes)
        while drawn[place][0] <= free:
            come = waiting + int(come_by(drawn[place][1] / draws, early) * arriving + 1e-9)
            place += 1
        some = min(number, max(0, come - given))
        if some:
            given += some
            last = free + each
            heappush(lanes, (last, some))
        idle += number - some
        # All that are free wait together for the next calls that come.
        if idle and (not lanes or lanes[0][0] > drawn[place][0]):
            heappush(lanes, (drawn[place][0], idle))
            idle = 0
    if idle:
        lanes.append((ends, idle))
    return Served(given, last, given >= come, [(max(free, ends), n) for free, n in lanes])


def refine(
    coming: Sequence[tuple[float, int]],
    waiting: int,
    drawn: Sequence[Group],
    teachers: Sequence[Group],
    more: Sequence[Group],
    each: float,
    given: int = 0,
    *,
    early: float = 0.5,
) -> float:
    """When the last of the teachers' calls ends, and all is drawn: the mean.

    coming: how many calls may come beside those that wait, each number with its weight; the middle
    one is expected. drawn: as from `draw`; calls come with these, a part `early` with the first
    half. more: teachers that may come when everything is drawn, and do so only if that helps. each:
    seconds of a call. given: calls that were taken before.
    """
    ends = drawn[-1][0]
    calls = waiting + coming[len(coming) // 2][1]
    given, last, all_that_came, lanes = serve(
        calls, waiting, drawn, teachers, each, given, early=early
    )
    # Where teachers waited for calls, of fewer or more calls the same part is done by now.
    done = given / calls if calls and all_that_came else 0.0
    left = [
        max(0, waiting + number - max(given, round(done * (waiting + number))))
        for _, number in coming
    ]
    most = max(left)
    if not most:
        return max(last, ends)
    dealt = [draw(list(some), most, each) for some in (lanes, [*lanes, *take(more, most)[0]])]
    return sum(
        weight * max(last, ends, min(_end_of(number, calls) for calls in dealt))
        for (weight, _), number in zip(coming, left, strict=True)
    )


def _end_of(number: int, dealt: Sequence[Group]) -> float:
    """When so many calls have ended."""
    return dealt[bisect_left(dealt, number, key=lambda end: end[1])][0] if number else 0.0
