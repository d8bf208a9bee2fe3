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
from dataclasses import replace
from math import inf

from jobs.scaling.decision import ScalingDecision, ScalingInput, changes
from jobs.scaling.pricing import Pricing, Split
from jobs.scaling.rest import Group, come_by, draw, groups_of, refine, serve, take

SHORT_LOADS, SHORT_CALLS, SHORT_SECONDS = 40.0, 10.0, 600.0
"""A rest of so many load times, calls of a teacher, or seconds, is short: on all devices, without
idling. In a longer one the steady pipeline has all that there is to gain. It is as deep as the
teachers' buffer, so that all that a short rest rejects may wait; and what waits is drawn again if
the driver is killed, so ten minutes of all devices are chosen as the most that may be lost unless
actors load for long.
"""

MIN_GAIN = 0.025
"""Of the time left: a smaller gain moves nobody. Measured on 46 jobs: with 0.02 they take 0.1 %
longer on average, as predictions that are off by a percent make moves that gain nothing."""

MOST_ROUNDS = 40
"""Calls of each actor. A longer rest is told in calls as many times as long. Chosen: what happens
within one of 40 is 2.5 %, less than a gain that moves anybody."""

SURPRISES = (
    (-2.0, 0.06),
    (-1.2, 0.16),
    (-0.6, 0.18),
    (0.0, 0.2),
    (0.6, 0.18),
    (1.2, 0.16),
    (2.0, 0.06),
)
"""How many rows will be rejected, in standard deviations from what is expected, with their weights:
a normal distribution in seven steps. One call more than there are teachers is a round more, so the
mean counts, and the expected number by itself says little."""

DOUBTS = (-1.0, 1.0)
"""In standard deviations: while the fraction is `DOUBTFUL`, a move must do no harm if so much less
or more is rejected than expected. Early in a job it costs little to wait for more."""

DOUBTFUL = 0.035
"""Of the rejected fraction, a standard deviation. Chosen: a sample of 256 rows says it to 0.03, and
a guess only with the first 200 rows. Measured on 92 jobs of benchmarks/regret.py: with doubts
of what a sample said they take 0.2 % longer."""

LATER = (0.25, 0.5, 0.75)
"""When a move might come instead of now: when so much of what is left is drawn. Chosen: in between
the next decisions look again."""


def is_short(inputs: ScalingInput) -> bool:
    """Whether the rest takes no longer than `short_seconds`, and all that it rejects may wait."""
    if inputs.rest * inputs.rows_to_draw > inputs.room:
        return False
    load = max(inputs.student.load_seconds, inputs.teacher.load_seconds)
    return seconds_of_work(inputs) <= short_seconds(load, inputs.teacher.call_seconds)


def seconds_of_work(inputs: ScalingInput) -> float:
    """The work that is left over the devices: the time to the end, if none idled or loaded."""
    shares, rows = inputs.capacity.shares, inputs.rows_to_draw
    work = rows * inputs.student.row_seconds * shares["student"]
    refined = inputs.rest * rows + inputs.unbatched + inputs.waiting
    work += refined * inputs.teacher.row_seconds * shares["teacher"]
    return work / max(1, inputs.capacity.count)


def short_seconds(load_seconds: float, call_seconds: float) -> float:
    """The longest short rest, by how long an actor loads and a teacher's call takes."""
    return max(SHORT_LOADS * load_seconds, SHORT_CALLS * call_seconds, SHORT_SECONDS)


class LookAhead:
    """Of one decision."""

    def __init__(self, inputs: ScalingInput) -> None:
        self.inputs = inputs
        self.pricing = Pricing(inputs)
        student, teacher = inputs.student, inputs.teacher
        self._devices = max(1, student.size + teacher.size)
        draws = inputs.rows_to_draw / student.call_rows
        waiting = inputs.waiting / teacher.call_rows
        come = inputs.rest * inputs.rows_to_draw + inputs.unbatched
        # As it is now for half of the rest, and then as the whole rest needs it.
        self._early = (
            min(1.0, max(0.0, inputs.rejected / (2 * inputs.rest))) if inputs.rest else 0.5
        )
        expected = come / teacher.call_rows
        deviation = inputs.rejected_sd / teacher.call_rows
        longer = max(1.0, max(draws, waiting + expected) / self._devices / MOST_ROUNDS)
        self._draws, self._waiting = max(1, round(draws / longer)), round(waiting / longer)
        self._coming = [
            (weight, max(0, round((expected + number * deviation) / longer)))
            for number, weight in SURPRISES
        ]
        self._draw_seconds = student.call_seconds * longer
        self._refine_seconds = teacher.call_seconds * longer
        self._students = groups_of(inputs.students_free_in or [0.0] * student.size)
        self._teachers = groups_of(inputs.teachers_next_in or [0.0] * teacher.size)

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
        doubtful = inputs.rejected_sd > DOUBTFUL * inputs.rows_to_draw
        if doubtful and not all(self._gains(now, best, deviations) for deviations in DOUBTS):
            return self.pricing.oracles(now)
        return ScalingDecision(
            best.sizes,
            f"p {inputs.rejected:.2f}: {changes(now.sizes, best.sizes)} ends the job in "
            f"{soonest:.0f} s, and the present sizes in {stays:.0f} s",
        )

    def _gains(self, now: Split, then: Split, deviations: float) -> bool:
        """Whether a move ends the job no later, with so many standard deviations more rejected."""
        inputs = self.inputs
        more = deviations * inputs.rejected_sd / inputs.rows_to_draw
        now_rejected, rest = (
            max(0.0, min(1.0, fraction + more)) for fraction in (inputs.rejected, inputs.rest)
        )
        at = replace(inputs, rejected=now_rejected, rejected_rest=rest, rejected_sd=0.0)
        other = LookAhead(at)
        return other.seconds(now, then, 0.0) <= other.seconds(now, now, 1.0)

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

        The mean over the numbers of rows that may be rejected (SURPRISES).
        """
        students, teachers = list(self._students), list(self._teachers)
        before, given = round(after * self._draws), 0
        drawn = draw(students, before, self._draw_seconds)
        if then is not now:
            moved = 0.0
            if drawn:
                moved, expected = drawn[-1][0], self._coming[len(self._coming) // 2][1]
                come = self._waiting + round(expected * come_by(before / self._draws, self._early))
                early = self._early if before == self._draws else 0.5
                given, _, _, teachers = serve(
                    come, self._waiting, drawn, teachers, self._refine_seconds, early=early
                )
            students, teachers = self._moved(then, students, teachers, moved)
        later = draw(students, self._draws - before, self._draw_seconds)
        # Actors that load meanwhile may end a call after one that began later.
        drawn = sorted([*drawn, *((at, before + done) for at, done in later)])
        if drawn[-1][0] == inf:
            return inf
        more = self._handed_over(then, students, teachers, drawn[-1][0])
        each = self._refine_seconds
        return refine(
            self._coming, self._waiting, drawn, teachers, more, each, given, early=self._early
        )

    def _moved(
        self, then: Split, students: list[Group], teachers: list[Group], moved: float
    ) -> tuple[list[Group], list[Group]]:
        """Both pools after a move: the least busy leave when they have done their calls."""
        student, teacher = self.inputs.student, self.inputs.teacher
        if then.students < student.size:
            leaving, students = take(students, student.size - then.students)
            come = then.teachers - teacher.size
            if come < 0:  # devices went: both pools become smaller
                return students, take(teachers, -come)[1]
            free = [(max(moved, at + student.call_seconds), count) for at, count in leaving]
            return students, [*teachers, *_loaded(free, come, teacher.load_seconds, moved)]
        leaving, teachers = take(teachers, teacher.size - then.teachers)
        come = then.students - student.size
        free = [(max(moved, at), count) for at, count in leaving]
        return [*students, *_loaded(free, come, student.load_seconds, moved)], teachers

    def _handed_over(
        self, then: Split, students: Sequence[Group], teachers: Sequence[Group], ends: float
    ) -> list[Group]:
        """When the devices of the students have become teachers, after everything is drawn."""
        inputs = self.inputs
        sizes = {"student": inputs.student.minimum, "oracle": then.oracles}
        bound = min(inputs.teacher.maximum, then.students + then.teachers)
        most = inputs.capacity.most("teacher", sizes, bound)
        # One that still loads as a student when everything is drawn loads as a teacher instead.
        load = inputs.student.load_seconds
        free = [(max(ends, at - load if at > ends else ends), count) for at, count in students]
        come = most - sum(count for _, count in teachers)
        return _loaded(free, come, inputs.teacher.load_seconds, ends)


def _loaded(free: list[Group], number: int, load_seconds: float, at_last: float) -> list[Group]:
    """When so many actors have loaded on devices that are `free`; the others are at `at_last`."""
    taken, _ = take(free, number)
    others = number - sum(count for _, count in taken)
    taken += [(max(at_last, taken[-1][0] if taken else 0.0), others)] if others > 0 else []
    return [(at + load_seconds, count) for at, count in taken]
