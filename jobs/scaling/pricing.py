"""While rows are drawn: what each number of students would cost until the end of the job."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, floor, inf

from jobs.scaling.decision import PoolFacts, ScalingDecision, ScalingInput, changes

SPARE = 1.25
"""The oracle is cheap and everything waits for it: it gets so much more than it needs."""

MARGIN, EARLY_MARGIN = 1.5, 2.0
"""A move is made when it saves this many times what the actors that it starts cost to load; the
second is for moves while nobody idles."""


@dataclass(frozen=True, slots=True)
class Split:
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


@dataclass(slots=True)
class Pricing:
    """Prices splits, in device-seconds that are lost until the end of the job."""

    outlook: ScalingInput
    at_limit: bool = True
    _splits: dict[int, Split] = field(default_factory=dict)

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

    def oracles(self, now: Split) -> ScalingDecision:
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

    def now(self) -> Split:
        look = self.outlook
        return self._flow(look.student.size, look.oracle.size, look.teacher.size)

    def split(self, students: int) -> Split:
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

    def _flow(self, students: int, oracles: int, teachers: int) -> Split:
        look = self.outlook
        arriving = look.rejected * students / look.student.row_seconds
        return Split(students, oracles, teachers, arriving, teachers / look.teacher.row_seconds)

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

    def price(self, split: Split) -> float:
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

    def loading(self, split: Split) -> float:
        """Device-seconds in which new actors load."""
        look, shares = self.outlook, self.outlook.capacity.shares
        return sum(
            max(0, split.sizes[name] - pool.size) * shares[name] * pool.load_seconds
            for name, pool in (("student", look.student), ("teacher", look.teacher))
        )

    def limit_in(self, split: Split) -> float:
        """Seconds until the buffer is empty, or full."""
        if split.growth < 0:
            return self.outlook.waiting / -split.growth
        return self.outlook.room / split.growth if split.growth > 0 else inf

    def warning(self, split: Split) -> float:
        """So long before a limit a move is made."""
        look = self.outlook
        pause = look.student.call_seconds
        return pause + (look.student.load_seconds if split.growth < 0 else 0.0)

    def held(self, split: Split, rows: float) -> float:
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

    def alternating(self, split: Split, rows: float) -> float:
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

    def reason(self, now: Split, then: Split, stays: float, price: float, costs: float) -> str:
        look, unit = self.outlook, self.outlook.capacity.unit
        if not self.at_limit:
            return (
                f"p {look.rejected:.2f}: {then.students} students are enough, and fewer are handed"
                f" over at the end. {changes(now.sizes, then.sizes)} saves "
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
            f"p {look.rejected:.2f}: {why}. {changes(now.sizes, then.sizes)} saves {gain} of "
            f"idling and costs {costs:.0f} of loading"
        )
