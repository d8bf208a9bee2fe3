"""How many actors each pool should have, from what is measured: pure, with reasons.

The work of a job is fixed, so its time is the work over the devices, plus what devices idle and
load. The rejected rows that wait for the teacher are a buffer between student and teacher: as long
as it is neither empty nor full nobody idles, whatever the sizes, and so there is nothing to decide.

    the buffer is about to run empty   the teachers will idle: more students, or let them idle
    it is about to be full             the students will wait: fewer students, or let them wait
    everything is drawn                the students idle: their devices go to the teachers

At the first two the numbers of students that could be right are priced to the end of the job, in
device-seconds: the devices that idle, the actors that load, the hand-over at the end. The cheapest
is taken if it saves enough more than it costs. At the end the sizes follow from how the waiting
batches can be dealt out in whole: an actor that would load too long to help is not started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor, inf

from jobs.scaling.capacity import Capacity

SPARE = 1.25
"""The oracle is cheap and everything waits for it: it gets so much more than it needs."""

MARGIN, EARLY_MARGIN = 1.5, 2.0
"""A move is made when it saves this many times what the actors that it starts cost to load; the
second is for moves while nobody idles."""

SLACK = 0.1
"""Of a teacher: a need that wavers around a whole number moves nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """A pool as measured. Counts of actors are without those that are on their way out.

    `row_seconds`: of one row in one actor. `call_rows`: rows of a call. `queued`, `running`: calls
    that no actor has yet, and those that one has.
    """

    size: int
    row_seconds: float
    call_rows: float
    load_seconds: float
    queued: int = 0
    running: int = 0
    minimum: int = 0
    maximum: int = 1_000_000

    @property
    def call_seconds(self) -> float:
        """Of one call."""
        return self.row_seconds * self.call_rows

    def within(self, size: int) -> int:
        """The nearest size that is allowed."""
        return max(self.minimum, min(self.maximum, size))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingInput:
    """All that a decision goes by.

    `rejected`: the fraction of rows. `rows_to_draw`: that no student has finished yet. `waiting`:
    rejected rows that wait for a teacher. `room`: how many more may come to wait before the
    students must pause. `draws`: pictures that are scored of each drawn row. `teachers_free_in`:
    seconds until each teacher has nothing more to do, or has loaded; needed once everything is
    drawn.
    """

    capacity: Capacity
    student: PoolFacts
    oracle: PoolFacts
    teacher: PoolFacts
    rejected: float
    rows_to_draw: float
    waiting: float
    room: float = inf
    draws: int = 1
    teachers_free_in: Sequence[float] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Actors by pool, as they are."""
        pools = {"student": self.student, "oracle": self.oracle, "teacher": self.teacher}
        return {name: pool.size for name, pool in pools.items()}


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """The sizes that there should be. `reason` is empty if they stay."""

    sizes: dict[str, int]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Split:
    """So many actors, and what follows for the flow of rejected rows a second."""

    students: int
    oracles: int
    teachers: int
    arriving: float
    refined: float

    @property
    def growth(self) -> float:
        """By which the buffer grows."""
        return self.arriving - self.refined

    @property
    def sizes(self) -> dict[str, int]:
        return {"student": self.students, "oracle": self.oracles, "teacher": self.teachers}


def decide(outlook: ScalingInput) -> ScalingDecision:
    """The sizes from now on."""
    if outlook.capacity.elastic:
        return _as_needed(outlook) if outlook.rows_to_draw > 0 else _given_back(outlook)
    return _Pricing(outlook).decision() if outlook.rows_to_draw > 0 else _at_the_end(outlook)


@dataclass(slots=True)
class _Pricing:
    """Prices splits, in device-seconds that are lost until the end of the job."""

    outlook: ScalingInput
    at_limit: bool = True
    _splits: dict[int, _Split] = field(default_factory=dict)

    def decision(self) -> ScalingDecision:
        look = self.outlook
        now = self.now()
        fewer, more = self.around()
        numbers = {fewer, more, max(fewer - 1, look.student.minimum)} - {now.students}
        self.at_limit = self.limit_in(now) <= self.warning(now)
        if not self.at_limit:
            # Nobody idles. Students who will not be missed may go early, as fewer are handed over.
            numbers = {n for n in numbers if n < now.students}
        splits = [self.split(n) for n in sorted(numbers)]
        chosen = min(splits, key=self.price, default=now)
        stays, price, costs = self.price(now), self.price(chosen), self.loading(chosen)
        margin = MARGIN if self.at_limit else EARLY_MARGIN
        if chosen is now or stays - price <= (margin - 1) * costs:
            return self.oracles(now)
        return ScalingDecision(chosen.sizes, self.reason(now, chosen, stays, price, costs))

    def decision_on_oracles(self) -> ScalingDecision:
        """The other pools as they are."""
        return self.oracles(self.now())

    def oracles(self, now: _Split) -> ScalingDecision:
        """The oracle alone, when it is too small for the others."""
        pool = self.outlook.oracle
        load = self.oracle_load(now.students, now.teachers)
        sizes = {**now.sizes, "oracle": self.oracles_for(now.students, now.teachers)}
        if load <= pool.size or sizes["oracle"] <= pool.size:
            return ScalingDecision(now.sizes)
        if not self.outlook.capacity.fits(sizes):
            return ScalingDecision(now.sizes)
        return ScalingDecision(sizes, f"the others keep {load:.1f} oracles busy all the time")

    # ---- what there could be

    def now(self) -> _Split:
        look = self.outlook
        return self._flow(look.student.size, look.oracle.size, look.teacher.size)

    def split(self, students: int) -> _Split:
        """So many students, the oracles that they need, and all the teachers that fit beside."""
        if students not in self._splits:
            look = self.outlook
            oracles = look.oracle.size
            needed = self.oracles_for(students, self._teachers_beside(students, oracles))
            fewer = self._teachers_beside(students, min(oracles, needed))
            # An oracle is let go only if that makes room for a teacher.
            if needed > oracles or fewer > self._teachers_beside(students, oracles):
                oracles = needed
            teachers = self._teachers_beside(students, oracles)
            self._splits[students] = self._flow(students, oracles, teachers)
        return self._splits[students]

    def _teachers_beside(self, students: int, oracles: int) -> int:
        pool = self.outlook.teacher
        sizes = {"student": students, "oracle": oracles}
        fitting = self.outlook.capacity.most("teacher", sizes, self._most(pool, "teacher"))
        return max(fitting, pool.minimum)

    def _flow(self, students: int, oracles: int, teachers: int) -> _Split:
        look = self.outlook
        arriving = look.rejected * students / look.student.row_seconds
        return _Split(students, oracles, teachers, arriving, teachers / look.teacher.row_seconds)

    def _most(self, pool: PoolFacts, name: str) -> int:
        share = self.outlook.capacity.shares[name]
        return min(pool.maximum, floor(self.outlook.capacity.count / share) if share else 10_000)

    def oracle_load(self, students: int, teachers: int) -> float:
        """Oracles that would be busy all the time."""
        look = self.outlook
        rows = students / look.student.row_seconds
        pictures = rows * look.draws
        if look.rejected:
            pictures += min(teachers / look.teacher.row_seconds, rows * 10)
        return pictures * look.oracle.row_seconds

    def oracles_for(self, students: int, teachers: int) -> int:
        load = self.oracle_load(students, teachers)
        return max(1, self.outlook.oracle.within(ceil(load * SPARE)))

    def around(self) -> tuple[int, int]:
        """The most students whose rejected rows the teachers keep up with, and one more."""
        look = self.outlook
        low, high = look.student.minimum, self._most(look.student, "student")
        high = look.capacity.most("student", {"oracle": look.oracle.size,
                                              "teacher": look.teacher.minimum}, high)  # fmt: skip
        low = min(low, high)
        most = high
        while low < high:
            middle = (low + high + 1) // 2
            if self.split(middle).growth <= 0:
                low = middle
            else:
                high = middle - 1
        return low, min(low + 1, most)

    # ---- what it costs

    def price(self, split: _Split) -> float:
        """Device-seconds lost from now to the end.

        At a limit that is near a split is kept for good: to move later is not cheaper than now. And
        no split is changed to while nobody idles just to be changed again.
        """
        look = self.outlook
        share_s = look.capacity.shares["student"]
        rows, waiting = look.rows_to_draw, look.waiting
        drawn = split.students / look.student.row_seconds
        seconds = rows / drawn if drawn else inf
        lost = self.loading(split)
        reached = self.limit_in(split)
        if reached < seconds:
            rest = rows - (drawn * reached if drawn else 0.0)
            held = self.held(split, rest)
            near = reached <= self.warning(split)
            may_move = not near and (self.at_limit or split.students == look.student.size)
            lost += min(held, self.alternating(split, rest)) if may_move else held
            waiting = 0.0 if split.growth < 0 else waiting + look.room
        else:
            waiting += split.growth * seconds
        # In the end the students' devices are handed over, or idle until the teachers are through.
        handed = split.students * share_s
        if look.rejected or waiting > 0:
            idle = waiting * look.teacher.row_seconds / split.teachers if split.teachers else inf
            lost += handed * min(idle, look.teacher.load_seconds)
        return lost

    def loading(self, split: _Split) -> float:
        """Device-seconds in which new actors load."""
        look, shares = self.outlook, self.outlook.capacity.shares
        return sum(
            max(0, split.sizes[name] - pool.size) * shares[name] * pool.load_seconds
            for name, pool in (("student", look.student), ("teacher", look.teacher))
        )

    def limit_in(self, split: _Split) -> float:
        """Seconds until the buffer is empty, or full."""
        if split.growth < 0:
            return self.outlook.waiting / -split.growth
        return self.outlook.room / split.growth if split.growth > 0 else inf

    def warning(self, split: _Split) -> float:
        """So long before a limit a move is made."""
        look = self.outlook
        pause = look.student.call_seconds
        return pause + (look.student.load_seconds if split.growth < 0 else 0.0)

    def held(self, split: _Split, rows: float) -> float:
        """Lost while `rows` are drawn at a limit, the faster side waiting for the slower."""
        look, shares = self.outlook, self.outlook.capacity.shares
        pace = split.students / look.student.row_seconds
        if look.rejected:
            pace = min(pace, split.refined / look.rejected)
        if pace <= 0:
            return inf
        idle_students = split.students - pace * look.student.row_seconds
        idle_teachers = split.teachers - pace * look.rejected * look.teacher.row_seconds
        lost = idle_students * shares["student"] + idle_teachers * shares["teacher"]
        return lost * rows / pace

    def alternating(self, split: _Split, rows: float) -> float:
        """Lost by actors that load while `rows` are drawn, by more and fewer students in turn."""
        look, shares = self.outlook, self.outlook.capacity.shares
        fewer, more = (self.split(n) for n in self.around())
        room = look.waiting + look.room
        if fewer.growth >= 0 or more.growth <= 0:
            return inf
        whole = room / -fewer.growth + room / more.growth
        load = max(
            look.student.load_seconds * shares["student"],
            look.teacher.load_seconds * shares["teacher"],
        )
        work = look.student.row_seconds * shares["student"]
        work += look.rejected * look.teacher.row_seconds * shares["teacher"]
        devices = more.students * shares["student"] + more.teachers * shares["teacher"]
        seconds = rows * work / devices if devices else inf
        to = fewer if split.growth > 0 else more
        moved = max(1, abs(to.students - split.students))
        return load * (moved + floor(2 * seconds / whole) if whole < inf else moved)

    # ---- what is said about it

    def reason(self, now: _Split, then: _Split, stays: float, price: float, costs: float) -> str:
        look, unit = self.outlook, self.outlook.capacity.unit
        if not self.at_limit:
            return (
                f"p {look.rejected:.2f}: {then.students} students are enough, and fewer are handed"
                f" over at the end. {_told(now.sizes, then.sizes)} saves "
                f"{stays - price + costs:.0f} {unit}-seconds and costs {costs:.0f} of loading"
            )
        reached = self.limit_in(now)
        when = f"in {reached:.0f} s" if reached >= 1 else "now"
        if now.growth < 0:
            why = f"the teachers run out of rejected rows {when}"
        else:
            why = f"there is no room for more rejected rows {when}"
        gain = "for ever" if stays == inf else f"{stays - price + costs:.0f} {unit}-seconds"
        return (
            f"p {look.rejected:.2f}: {why}. {_told(now.sizes, then.sizes)} saves {gain} of "
            f"idling and costs {costs:.0f} of loading"
        )


def _told(before: dict[str, int], after: dict[str, int]) -> str:
    changes = (
        f"{name} {before[name]} -> {after[name]}" for name in before if before[name] != after[name]
    )
    return ", ".join(changes)


def _as_needed(look: ScalingInput) -> ScalingDecision:
    """Where devices come and go: the teachers that keep up with the students, no more.

    What waits already is spread over the time that drawing will take. A teacher comes if it is
    needed for longer than it loads, and goes when the others would do with room to spare.
    """
    before, teacher = look.sizes, look.teacher
    oracles = _Pricing(look).decision_on_oracles()
    if not look.student.size:
        return oracles
    drawing = look.rows_to_draw * look.student.row_seconds / look.student.size
    rows = look.rejected * look.rows_to_draw + look.waiting
    busy = rows * teacher.row_seconds / drawing
    wanted = teacher.within(ceil(busy))
    wanted = look.capacity.most("teacher", {**before, "teacher": 0}, wanted)
    few = wanted > teacher.size and busy > teacher.size + SLACK
    many = wanted < teacher.size and busy < teacher.size - 1 - SLACK
    if not many and not (few and drawing > teacher.load_seconds):
        return oracles
    sizes = {**oracles.sizes, "teacher": wanted}
    return ScalingDecision(
        sizes,
        f"p {look.rejected:.2f}: the students keep {busy:.1f} teachers busy for the {drawing:.0f} "
        f"s that they still draw. {_told(before, sizes)}",
    )


def _given_back(look: ScalingInput) -> ScalingDecision:
    """Everything is drawn, and devices may go: the students', then those of idle teachers."""
    before, teacher = look.sizes, look.teacher
    decision = _at_the_end(look)
    sizes = {**decision.sizes, "student": look.student.minimum}
    if not teacher.queued:
        sizes["teacher"] = max(teacher.minimum, min(teacher.size, teacher.running))
    if sizes == before:
        return decision
    told = f"everything is drawn: {_told(before, sizes)}"
    return ScalingDecision(sizes, decision.reason or told)


def _at_the_end(look: ScalingInput) -> ScalingDecision:
    """Everything is drawn: the teachers get the devices that help them, the students none."""
    before = look.sizes
    teacher = look.teacher
    if not teacher.queued:
        return ScalingDecision(before)
    beside = {**before, "student": look.student.minimum}
    bound = min(teacher.maximum, teacher.size + teacher.queued)
    most = look.capacity.most("teacher", beside, bound)
    if most <= teacher.size:
        return ScalingDecision(before)
    seconds = {
        n: _dealt(teacher.queued, look.teachers_free_in, n - teacher.size, teacher)
        for n in (teacher.size, most)
    }
    # The fewest that are as good as all of them.
    low, high = teacher.size, most
    while low < high:
        middle = (low + high) // 2
        more = middle - teacher.size
        seconds[middle] = _dealt(teacher.queued, look.teachers_free_in, more, teacher)
        enough = seconds[middle] <= 1.005 * seconds[most]
        low, high = (low, middle) if enough else (middle + 1, high)
    saved = seconds[teacher.size] - seconds.get(low, seconds[most])
    if low == teacher.size or (saved < inf and saved <= 0.02 * seconds[teacher.size]):
        return ScalingDecision(before)
    students = look.capacity.most("student", {**before, "teacher": low}, look.student.size)
    sizes = {**before, "teacher": low, "student": max(students, look.student.minimum)}
    gain = "the only way on" if saved == inf else f"{saved:.0f} s earlier"
    return ScalingDecision(
        sizes,
        f"everything is drawn and {teacher.queued} batches wait for teachers: "
        f"{_told(before, sizes)}, {gain}, with {teacher.load_seconds:.0f} s of loading in it",
    )


def _dealt(calls: int, free_in: Sequence[float], more: int, teacher: PoolFacts) -> float:
    """Seconds until the last of the waiting `calls` is done, each by whoever is free first."""
    starts = [*free_in, *[teacher.load_seconds] * more]
    if not starts:
        return inf
    each = teacher.call_seconds
    low, high = 0.0, max(starts) + calls * each
    for _ in range(40):
        middle = (low + high) / 2
        if sum(floor((middle - start) / each + 1e-9) for start in starts if start < middle) < calls:
            low = middle
        else:
            high = middle
    return max([high, *free_in])
