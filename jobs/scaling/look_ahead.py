"""The rest of a short job: which sizes end it first? Pure.

Each number of students that could be right is taken to the job's end, by a model in whole calls:
students draw, teachers refine in the order in which rows are rejected, and when everything is drawn
the students' devices become teachers. The sizes change if another number, from now on, ends the job
earlier than the present one by enough, and a later change would not do as well.

At one end of the range all devices draw first, and then all refine: nobody waits for rejected rows,
and the last calls are dealt out to all. At the other end the teachers keep up with the students.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import ceil, inf

from jobs.scaling.decision import ScalingDecision, ScalingInput, changes
from jobs.scaling.pricing import Pricing, Split

SHORT_LOADS, SHORT_CALLS = 40.0, 10.0
"""A rest of so many load times, or calls of a teacher, is short: on all devices, without idling.
Chosen as deep as the teachers' buffer: then all that is rejected may wait, and the steady pipeline
has nothing to gain. In ten rounds of calls it counts that they end together.
"""

MIN_GAIN = 0.03
"""Of the time left: a smaller gain moves nobody. Measured on 60 jobs: with 0.01 they take 0.1 %
longer on average, as predictions that are off by a percent make moves that gain nothing."""

MOST_ROUNDS = 40
"""Calls of each actor. A longer rest is told in calls as many times as long. Chosen: what happens
within one of 40 is 2.5 %, less than a gain that moves anybody."""

MOST_DEVICES = 32
"""A larger cluster is told as a smaller one with as many times less work. Chosen: a device of 32 is
3 %, and a decision takes 10 ms."""

MORE_REJECTED = 1.1
"""Times as much as expected may be rejected. Chosen: of the hundreds of rows that short jobs still
have, a tenth is about a standard deviation."""

LATER = (0.25, 0.5, 0.75)
"""When a move might come instead of now: when so much of what is left is drawn. Chosen: in between
the next decisions look again."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left, in calls. `refines`: `waiting` for a teacher already, and expected."""

    draws: int
    refines: int
    waiting: int
    draw_seconds: float
    refine_seconds: float
    student_load: float
    teacher_load: float


def is_short(inputs: ScalingInput) -> bool:
    """Whether the rest takes SHORT_LOADS or SHORT_CALLS, and all that it rejects may wait."""
    rows, waiting = inputs.rows_to_draw, inputs.waiting
    if inputs.rejected * rows > inputs.room:
        return False
    shares = inputs.capacity.shares
    work = rows * inputs.student.row_seconds * shares["student"]
    work += (inputs.rejected * rows + waiting) * inputs.teacher.row_seconds * shares["teacher"]
    load = max(inputs.student.load_seconds, inputs.teacher.load_seconds)
    seconds = max(SHORT_LOADS * load, SHORT_CALLS * inputs.teacher.call_seconds)
    return work <= seconds * inputs.capacity.count


class LookAhead:
    """Of one decision. `_fewer`: devices for each one that is counted."""

    def __init__(self, inputs: ScalingInput) -> None:
        self.inputs = inputs
        self.pricing = Pricing(inputs)
        student, teacher = inputs.student, inputs.teacher
        self._devices = max(1, student.size + teacher.size)
        self._fewer = max(1.0, self._devices / MOST_DEVICES)
        draws = inputs.rows_to_draw / student.call_rows / self._fewer
        waiting = inputs.waiting / teacher.call_rows / self._fewer
        refines = waiting + inputs.rejected * inputs.rows_to_draw / teacher.call_rows / self._fewer
        longer = max(1.0, max(draws, refines) * self._fewer / self._devices / MOST_ROUNDS)
        whole = ceil(refines / longer)
        self._rest = Rest(
            draws=max(1, round(draws / longer)),
            refines=whole,
            waiting=min(round(waiting / longer), whole),
            draw_seconds=student.call_seconds * longer,
            refine_seconds=teacher.call_seconds * longer,
            student_load=student.load_seconds,
            teacher_load=teacher.load_seconds,
        )
        self._students = self._some_of(inputs.students_free_in or [0.0] * student.size)
        self._teachers = self._some_of(inputs.teachers_free_in or [0.0] * teacher.size)

    def _some_of(self, free_in: Sequence[float]) -> list[float]:
        ordered, number = sorted(free_in), self._counted(len(free_in))
        return [ordered[int((place + 0.5) * len(ordered) / number)] for place in range(number)]

    def _counted(self, actors: int) -> int:
        return max(int(actors > 0), round(actors / self._fewer))

    def decision(self) -> ScalingDecision:
        """The sizes that end the job first, if they gain enough; else at most more oracles."""
        inputs, now = self.inputs, self.pricing.now()
        if not inputs.student.size:
            return self.pricing.decision()
        stays = soonest = self.seconds(now, now, 1.0)
        best = now
        for number in self._numbers():
            split = self.pricing.split(number)
            seconds = self.seconds(now, split, 0.0)
            if seconds < soonest:
                best, soonest = split, seconds
        enough = MIN_GAIN * stays + self.pricing.loading(best) / inputs.capacity.count
        if best is now or stays - soonest <= enough:
            return self.pricing.oracles(now)
        if any(self.seconds(now, best, later) <= soonest for later in LATER):
            return self.pricing.oracles(now)
        return ScalingDecision(
            best.sizes,
            f"p {inputs.rejected:.2f}: {changes(now.sizes, best.sizes)} ends the job in "
            f"{soonest:.0f} s, and the present sizes in {stays:.0f} s",
        )

    def _numbers(self) -> list[int]:
        """Of students: those that keep the teachers busy, the fewest, the most, and some around."""
        inputs, size = self.inputs, self.inputs.student.size
        fewest = max(1, inputs.student.minimum)
        others = {"oracle": inputs.oracle.minimum, "teacher": inputs.teacher.minimum}
        most = inputs.capacity.most(
            "student", others, min(inputs.student.maximum, 2 * self._devices)
        )
        found, step = {*self.pricing.around(), fewest, most}, 1
        while step <= self._devices:
            found |= {size - step, size + step}
            step *= 2
        return sorted(n for n in found if fewest <= n <= most and n != size)

    def seconds(self, now: Split, then: Split, after: float) -> float:
        """To the job's end, if the sizes change to `then` when a part `after` of the draws is done.

        The mean over the expected number of refinements and MORE_REJECTED times as many: one call
        more than there are teachers is a round more.
        """
        rest = self._rest
        students, teachers = sorted(self._students), sorted(self._teachers)
        before = round(after * rest.draws)
        drawn = _drawn(students, before, rest.draw_seconds)
        moved = max(drawn, default=0.0)
        if then is not now:
            self._move(then, students, teachers, moved)
        drawn += _drawn(students, rest.draws - before, rest.draw_seconds)
        drawn.sort()
        ends = drawn[-1]
        if ends == inf or not rest.refines:
            return ends
        handed = self._handed_over(then, students, len(teachers), ends)
        more = rest.waiting + ceil(MORE_REJECTED * (rest.refines - rest.waiting))
        return sum(
            max(ends, self._refined(drawn, teachers, handed, refines)) / 2
            for refines in (rest.refines, more)
        )

    def _move(
        self, then: Split, students: list[float], teachers: list[float], moved: float
    ) -> None:
        """Change both pools' lanes: the least busy leave when they have done their calls."""
        rest = self._rest
        go = len(students) - self._counted(then.students)
        come = self._counted(then.teachers) - len(teachers)
        students.sort()
        teachers.sort()
        if go > 0:
            left = [max(moved, free + rest.draw_seconds) for free in students[:go]]
            del students[:go]
            teachers += [left[min(place, go - 1)] + rest.teacher_load for place in range(come)]
        else:
            left = [max(moved, free) for free in teachers[: max(0, -come)]] or [moved]
            del teachers[: max(0, -come)]
            last = len(left) - 1
            students += [left[min(place, last)] + rest.student_load for place in range(-go)]

    def _handed_over(
        self, then: Split, students: Sequence[float], teachers: int, ends: float
    ) -> list[float]:
        """When the devices of the students have become teachers, after everything is drawn."""
        inputs, rest = self.inputs, self._rest
        sizes = {"student": inputs.student.minimum, "oracle": then.oracles}
        bound = min(inputs.teacher.maximum, then.students + then.teachers)
        most = inputs.capacity.most("teacher", sizes, bound)
        more = max(0, self._counted(most) - teachers)
        # One that still loads as a student when everything is drawn loads as a teacher instead.
        free = sorted(
            max(ends, each - rest.student_load if each > ends else ends) for each in students
        )
        free += [ends] * max(0, more - len(free))
        return [each + rest.teacher_load for each in free[:more]]

    def _refined(
        self,
        drawn: Sequence[float],
        teachers: Sequence[float],
        handed: Sequence[float],
        refines: int,
    ) -> float:
        """When the last refinement ends. `handed`: teachers that come when everything is drawn."""
        rest, ends = self._rest, drawn[-1]
        each, lanes = rest.refine_seconds, list(teachers)
        needed = rest.draws / max(1, refines - rest.waiting)
        heapify(lanes)
        last, given = 0.0, 0
        while lanes and given < refines:
            number = ceil((given + 1 - rest.waiting) * needed - 1e-9)
            comes = drawn[min(number, rest.draws) - 1] if number > 0 else 0.0
            start = max(comes, lanes[0])
            if start >= ends:
                break
            last = start + each
            heapreplace(lanes, last)
            given += 1
        left = refines - given
        if not left:
            return last
        alone = _dealt(lanes, left, ends, each)
        return max(last, min(alone, _dealt([*lanes, *handed[:left]], left, ends, each)))


def _drawn(free_in: list[float], calls: int, each: float) -> list[float]:
    """When each call ends; `free_in` is then when each actor is free again."""
    if not free_in:
        return [inf] * calls
    heapify(free_in)
    found = []
    for _ in range(calls):
        done = free_in[0] + each
        heapreplace(free_in, done)
        found.append(done)
    return found


def _dealt(free_in: Sequence[float], calls: int, ends: float, each: float) -> float:
    """When the last of `calls` ends that wait at `ends`."""
    if not free_in:
        return inf
    return max(_drawn([max(free, ends) for free in free_in], calls, each))
