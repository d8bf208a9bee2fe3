"""When a job ends that begins with these actors: a model in whole calls. Pure.

Students draw call after call. What they reject waits for teachers, who take whole calls in the
order in which they come. When everything is drawn, the students' devices may become teachers. The
calls of a pool take equally long, so call j begins when it has come and call j - (teachers) has
ended: no event is simulated. Measured against the simulation of 60 jobs with up to ten splits each,
with the true rejected fraction: in the middle a schedule is 0.2 % short.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, erf, floor, inf, sqrt

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]

MOST_CALLS = 20_000
"""Calls of a schedule. Chosen: one takes some 2 ms then. A longer job is shortened: its end counts
for little, and the rest flows."""

CERTAIN = 5.0
"""Standard deviations within which a number surely lies: it is beyond them once in two million."""


def expected_calls(part_rows: int, rejected: float, batch: int) -> float:
    """The teacher's calls of a part on average: of its last call some rows may be missing.

    A call is one more than k if more than k batches are rejected; their number is nearly normal.
    """
    mean = part_rows * rejected
    deviation = max(1e-9, sqrt(mean * (1 - rejected)))
    surely = max(0, floor((mean - CERTAIN * deviation) / batch))
    most = ceil(min(part_rows, mean + CERTAIN * deviation) / batch)
    # Half a row beyond: k batches exactly need no further call.
    beyond = ((k * batch + 0.5 - mean) / deviation for k in range(surely, most))
    return surely + sum((1 - erf(each / sqrt(2))) / 2 for each in beyond)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Of a job from its beginning. `draws`, `refines`: calls of students and teachers.

    `draw_seconds`, `score_seconds`, `refine_seconds`: of a call. `load_seconds`: of an actor.
    """

    draws: int
    refines: int
    draw_seconds: float
    score_seconds: float
    refine_seconds: float
    load_seconds: float


def seconds_in_all(
    work: Work, students: int, oracles: int, teachers: int, handed_over: int
) -> float:
    """From the start of these actors to the end, if their numbers stay until everything is drawn.

    handed_over: teachers for which there is room then beside the others, once the students left.
    """
    if not students:
        return inf
    rounds = ceil(work.draws / students)
    last_round = work.draws - (rounds - 1) * students
    scoring = ceil(last_round / oracles) * work.score_seconds
    drawn = work.load_seconds + rounds * work.draw_seconds + scoring
    if not work.refines:
        return drawn
    arrivals = _arrivals(work, students, oracles)
    served = _served(arrivals, teachers, work.refine_seconds, work.load_seconds)
    ends = float(served[-1]) if teachers else inf
    begun = (
        int(np.searchsorted(served - work.refine_seconds, drawn, side="right")) if teachers else 0
    )
    left = work.refines - begun
    if left > 0 and handed_over > 0:
        free = np.maximum(served[max(0, begun - teachers) : begun] - drawn, 0.0)
        idle = np.zeros(teachers - len(free))
        starts = np.concatenate([free, idle, np.full(min(handed_over, left), work.load_seconds)])
        under_way = float(served[begun - 1]) if begun else 0.0
        ends = min(ends, max(under_way, drawn + seconds_for(left, starts, work.refine_seconds)))
    return max(ends, drawn) + work.score_seconds


def _arrivals(work: Work, students: int, oracles: int) -> Seconds:
    """When each call of the teacher has all its rows drawn and scored; ascending."""
    calls = np.arange(1, work.refines + 1)
    needed = np.ceil(calls * (work.draws / work.refines) - 1e-9)
    rounds = np.ceil(needed / students)
    places = needed - (rounds - 1) * students
    scored = np.ceil(places / oracles) * work.score_seconds
    return np.asarray(work.load_seconds + rounds * work.draw_seconds + scored)


def _served(arrivals: Seconds, teachers: int, each: float, ready: float) -> Seconds:
    """When each call ends; ascending. `ready`: when the teachers have loaded."""
    if not teachers:
        return np.full(len(arrivals), inf)
    turns = ceil(len(arrivals) / teachers)
    padded = np.full(turns * teachers, -inf)
    padded[: len(arrivals)] = np.maximum(arrivals, ready)
    begun = np.arange(turns)[:, np.newaxis] * each
    latest = np.maximum.accumulate(padded.reshape(turns, teachers) - begun, axis=0)
    return np.asarray((latest + begun + each).ravel()[: len(arrivals)])


def seconds_for(calls: int, free_in: Seconds, each: float) -> float:
    """Seconds until the last of `calls` ends, if whoever is free first takes the next.

    free_in: seconds until each actor is free, or has loaded. each: seconds of a call.
    """
    free = np.sort(free_in)
    if each <= 0:
        return float(free[0])
    # If calls could be cut, all that are free by then would end them together, at `flow`.
    numbers = np.arange(1, len(free) + 1)
    flows = (calls * each + np.cumsum(free)) / numbers
    late = np.flatnonzero(flows[:-1] <= free[1:])
    number = int(late[0]) + 1 if len(late) else len(free)
    flow, free = flows[number - 1], free[:number]
    # 1e-9: a call that ends exactly then counts, whatever the division rounds to.
    done = np.floor((flow - free) / each + 1e-9)
    left = calls - int(done.sum())
    if left <= 0:
        return float(flow)
    # Each of them ends its next call within the time of a call.
    return float(np.partition(free + (done + 1) * each, left - 1)[left - 1])
