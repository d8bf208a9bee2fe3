"""While rows are drawn: the numbers of students that could be right, priced to the job's end."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, floor, inf

from jobs.scaling.decision import PoolFacts, ScalingDecision, ScalingInput, changes

ORACLE_SPARE = 1.25
"""The pools get this many times the oracles that they keep busy. Chosen: both other pools wait for
the oracle, and a tenth of a GPU too many costs less than they do while they wait.
"""

MARGIN, EARLY_MARGIN = 1.5, 2.0
"""A move has to save this many times the loading of the actors that it starts; the second is for
moves while nobody idles. Measured on five jobs of test_balanced_jobs.py: with any margins from 1 to
3 the wall times differ by 1.2 % at most; with an early margin of 1.5, noise loads an actor more.
"""

MAX_REFINED_PER_DRAWN = 10
"""Teachers that empty a large buffer beside few students refine many rows for each drawn one. This
many count when oracles are sized. Chosen: such a buffer is empty before more oracles have loaded.
"""

MAX_WITHOUT_SHARE = 10_000
"""The most actors of a pool that takes no device. Chosen: the search for a size needs a bound."""


@dataclass(frozen=True, slots=True)
class Split:
    """The pools' sizes, and the flow of rejected rows that follows: rows a second.

    `arriving`: rows that the students add to the buffer. `refined`: rows that the teachers take.
    """

    students: int
    oracles: int
    teachers: int
    arriving: float
    refined: float

    @property
    def growth(self) -> float:
        """Rows a second by which the buffer grows."""
        return self.arriving - self.refined

    @property
    def sizes(self) -> dict[str, int]:
        """Actors by pool."""
        return {"student": self.students, "oracle": self.oracles, "teacher": self.teachers}


@dataclass(slots=True)
class Pricing:
    """Prices splits in the device-seconds that they lose until the end of the job.

    `at_limit`: the buffer is about to run empty or full, so somebody will idle.
    """

    inputs: ScalingInput
    at_limit: bool = True
    _splits: dict[int, Split] = field(default_factory=dict)

    def decision(self) -> ScalingDecision:
        """The cheapest split, if it saves enough; else at most more oracles."""
        inputs = self.inputs
        now = self.now()
        fewer, more = self.around()
        numbers = {fewer, more, max(fewer - 1, inputs.student.minimum)} - {now.students}
        self.at_limit = self.limit_in(now) <= self.warning(now)
        if not self.at_limit:
            # Nobody idles. Only students whom nobody will miss may go early: fewer devices change
            # hands at the end.
            numbers = {n for n in numbers if n < now.students}
        splits = [self.split(n) for n in sorted(numbers)]
        chosen = min(splits, key=self.price, default=now)
        stays, price, costs = self.price(now), self.price(chosen), self.loading(chosen)
        margin = MARGIN if self.at_limit else EARLY_MARGIN
        if chosen is now or stays - price <= (margin - 1) * costs:
            return self.oracles(now)
        return ScalingDecision(chosen.sizes, self.reason(now, chosen, stays, price, costs))

    def decision_on_oracles(self) -> ScalingDecision:
        """More oracles if they are too few; the other pools stay."""
        return self.oracles(self.now())

    def oracles(self, now: Split) -> ScalingDecision:
        """More oracles if they are too few for the others; the other pools stay."""
        pool = self.inputs.oracle
        load = self.oracle_load(now.students, now.teachers)
        sizes = {**now.sizes, "oracle": self.oracles_for(now.students, now.teachers)}
        if load <= pool.size or sizes["oracle"] <= pool.size:
            return ScalingDecision(now.sizes)
        if not self.inputs.capacity.fits(sizes):
            return ScalingDecision(now.sizes)
        return ScalingDecision(sizes, f"the others keep {load:.1f} oracles busy all the time")

    # ---- splits

    def now(self) -> Split:
        """The split as it is."""
        inputs = self.inputs
        return self._flow(inputs.student.size, inputs.oracle.size, inputs.teacher.size)

    def split(self, students: int) -> Split:
        """This many students, the oracles that they need, and all teachers that fit beside them."""
        if students not in self._splits:
            inputs = self.inputs
            oracles = inputs.oracle.size
            needed = self.oracles_for(students, self._teachers_beside(students, oracles))
            fewer = self._teachers_beside(students, min(oracles, needed))
            # An oracle goes only if that makes room for a teacher.
            if needed > oracles or fewer > self._teachers_beside(students, oracles):
                oracles = needed
            teachers = self._teachers_beside(students, oracles)
            self._splits[students] = self._flow(students, oracles, teachers)
        return self._splits[students]

    def _teachers_beside(self, students: int, oracles: int) -> int:
        pool = self.inputs.teacher
        sizes = {"student": students, "oracle": oracles}
        fitting = self.inputs.capacity.most("teacher", sizes, self._most(pool, "teacher"))
        return max(fitting, pool.minimum)

    def _flow(self, students: int, oracles: int, teachers: int) -> Split:
        inputs = self.inputs
        arriving = inputs.rejected * students / inputs.student.row_seconds
        return Split(students, oracles, teachers, arriving, teachers / inputs.teacher.row_seconds)

    def _most(self, pool: PoolFacts, name: str) -> int:
        share = self.inputs.capacity.shares[name]
        bound = floor(self.inputs.capacity.count / share) if share else MAX_WITHOUT_SHARE
        return min(pool.maximum, bound)

    def oracle_load(self, students: int, teachers: int) -> float:
        """How many oracles these students and teachers keep busy."""
        inputs = self.inputs
        rows = students / inputs.student.row_seconds
        pictures = rows * inputs.draws
        if inputs.rejected:
            refined = teachers / inputs.teacher.row_seconds
            pictures += min(refined, rows * MAX_REFINED_PER_DRAWN)
        return pictures * inputs.oracle.row_seconds

    def oracles_for(self, students: int, teachers: int) -> int:
        """The oracles that these students and teachers need, with some to spare."""
        load = self.oracle_load(students, teachers)
        return max(1, self.inputs.oracle.within(ceil(load * ORACLE_SPARE)))

    def around(self) -> tuple[int, int]:
        """The most students whose rejected rows the teachers keep up with, and one more."""
        inputs = self.inputs
        low, high = inputs.student.minimum, self._most(inputs.student, "student")
        high = inputs.capacity.most("student", {"oracle": inputs.oracle.size,
                                              "teacher": inputs.teacher.minimum}, high)  # fmt: skip
        low = min(low, high)
        most = high
        while low < high:
            middle = (low + high + 1) // 2
            if self.split(middle).growth <= 0:
                low = middle
            else:
                high = middle - 1
        return low, min(low + 1, most)

    # ---- prices

    def price(self, split: Split) -> float:
        """Device-seconds lost from now to the end.

        A split whose limit is near is priced as kept for good: moving later is no cheaper than
        moving now. And while nobody idles, another split is priced as kept for good too: no split
        is taken just to be changed again.
        """
        inputs = self.inputs
        rows, waiting = inputs.rows_to_draw, inputs.waiting + inputs.unbatched
        drawn = split.students / inputs.student.row_seconds
        seconds = rows / drawn if drawn else inf
        lost = self.loading(split)
        reached = self.limit_in(split)
        if reached < seconds:
            rest = rows - (drawn * reached if drawn else 0.0)
            held = self.held(split, rest)
            near = reached <= self.warning(split)
            may_move = not near and (self.at_limit or split.students == inputs.student.size)
            lost += min(held, self.alternating(split, rest)) if may_move else held
            waiting = inputs.unbatched if split.growth < 0 else waiting + inputs.room
        else:
            waiting += split.growth * seconds
        # In the end the students' devices change hands, or idle until the teachers have finished.
        handed_over = split.students * inputs.capacity.shares["student"]
        if inputs.rejected or waiting > 0:
            idle = waiting * inputs.teacher.row_seconds / split.teachers if split.teachers else inf
            lost += handed_over * min(idle, inputs.teacher.load_seconds)
        return lost

    def loading(self, split: Split) -> float:
        """Device-seconds in which this split's new actors load."""
        inputs, shares = self.inputs, self.inputs.capacity.shares
        return sum(
            max(0, split.sizes[name] - pool.size) * shares[name] * pool.load_seconds
            for name, pool in (("student", inputs.student), ("teacher", inputs.teacher))
        )

    def limit_in(self, split: Split) -> float:
        """Seconds until the buffer is empty, or full."""
        if split.growth < 0:
            return self.inputs.waiting / -split.growth
        return self.inputs.room / split.growth if split.growth > 0 else inf

    def warning(self, split: Split) -> float:
        """How many seconds before its limit a split is given up.

        A call of the student earlier, since decisions come between calls; and if students have to
        come, their loading time.
        """
        inputs = self.inputs
        pause = inputs.student.call_seconds
        return pause + (inputs.student.load_seconds if split.growth < 0 else 0.0)

    def held(self, split: Split, rows: float) -> float:
        """Device-seconds lost while `rows` are drawn at a limit: the faster side waits."""
        inputs, shares = self.inputs, self.inputs.capacity.shares
        rows_per_second = split.students / inputs.student.row_seconds
        if inputs.rejected:
            rows_per_second = min(rows_per_second, split.refined / inputs.rejected)
        if rows_per_second <= 0:
            return inf
        refined = rows_per_second * inputs.rejected
        idle_students = split.students - rows_per_second * inputs.student.row_seconds
        idle_teachers = split.teachers - refined * inputs.teacher.row_seconds
        lost = idle_students * shares["student"] + idle_teachers * shares["teacher"]
        return lost * rows / rows_per_second

    def alternating(self, split: Split, rows: float) -> float:
        """Device-seconds of loading while `rows` are drawn by more and fewer students in turn."""
        inputs, shares = self.inputs, self.inputs.capacity.shares
        fewer, more = (self.split(n) for n in self.around())
        room = inputs.waiting + inputs.room
        if fewer.growth >= 0 or more.growth <= 0:
            return inf
        cycle_seconds = room / -fewer.growth + room / more.growth
        load = max(
            inputs.student.load_seconds * shares["student"],
            inputs.teacher.load_seconds * shares["teacher"],
        )
        row_device_seconds = inputs.student.row_seconds * shares["student"]
        row_device_seconds += inputs.rejected * inputs.teacher.row_seconds * shares["teacher"]
        devices = more.students * shares["student"] + more.teachers * shares["teacher"]
        seconds = rows * row_device_seconds / devices if devices else inf
        next_split = fewer if split.growth > 0 else more
        loads = max(1, abs(next_split.students - split.students))
        if cycle_seconds < inf:
            loads += floor(2 * seconds / cycle_seconds)
        return load * loads

    # ---- reasons

    def reason(self, now: Split, then: Split, stays: float, price: float, costs: float) -> str:
        """For people. `stays`, `price`: of the two splits; `costs`: the loading in `price`."""
        inputs, unit = self.inputs, self.inputs.capacity.unit
        if not self.at_limit:
            return (
                f"p {inputs.rejected:.2f}: {then.students} students are enough, and fewer devices "
                f"change hands at the end. {changes(now.sizes, then.sizes)} saves "
                f"{stays - price + costs:.0f} {unit}-seconds and costs {costs:.0f} of loading"
            )
        reached = self.limit_in(now)
        when = f"in {reached:.0f} s" if reached >= 1 else "now"
        if now.growth < 0:
            why = f"the teachers run out of rejected rows {when}"
        else:
            why = f"there is no room for more rejected rows {when}"
        gain = "endless" if stays == inf else f"{stays - price + costs:.0f} {unit}-seconds of"
        return (
            f"p {inputs.rejected:.2f}: {why}. {changes(now.sizes, then.sizes)} saves {gain} "
            f"idling and costs {costs:.0f} of loading"
        )
