"""The best plan of a case by hindsight, for benchmarks/regret.py: which sizes would have been best?

A plan is a number of students to begin with, and up to two changes of it. There are too many to
simulate them all, so the policy's own model of a rest (`jobs.scaling.look_ahead`), which gets the
true seconds and the true number of rejected rows, says which are worth it. Those are simulated as
the job itself is, and the fastest counts: no model's word, but a run that anybody could have made
who had known.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import ceil, inf

from regret_cases import Case, Moves, run

from actors.pool_settings import PoolsSettings
from jobs.scaling.capacity import Capacity
from jobs.scaling.decision import PoolFacts, ScalingInput
from jobs.scaling.initial_sizes import Loads, plan_pools
from jobs.scaling.look_ahead import LookAhead

MOVE_AT = (0.1, 0.3, 0.5, 0.7, 0.85)
"""Fractions of the drawing at which a plan may change the number of students."""

NUMBERS = 16
"""Of students, evenly, that the model tries on a large cluster, beside those around the best."""

FIXED, SINGLE, DOUBLE, NEIGHBOURS = 3, 3, 1, 2
"""Plans of each kind that are simulated. Measured on 60 cases: with twice as many the best plan is
0.1 % faster on average."""


@dataclass
class Hindsight:
    """What is known of a case afterwards, and the plans that were run. `best`: seconds, plan."""

    case: Case
    ran: dict[Moves, float] = field(default_factory=dict)

    @property
    def best(self) -> tuple[float, Moves]:
        """The fastest plan so far."""
        return min((seconds, moves) for moves, seconds in self.ran.items())

    @property
    def best_fixed(self) -> float:
        """Seconds of the best split that stays until everything is drawn."""
        return min(seconds for moves, seconds in self.ran.items() if len(moves) == 1)

    @property
    def drawing_first(self) -> float:
        """Seconds with all GPUs drawing first."""
        return self.run(((0.0, self.case.gpus),))

    def run(self, moves: Moves) -> float:
        """Seconds of a plan."""
        if moves not in self.ran:
            self.ran[moves] = run(self.case, moves).seconds
        return self.ran[moves]


def look_back(case: Case) -> Hindsight:
    """Find the best plan of a case: of the model's best of each kind, and some by chance."""
    found, dice, model = Hindsight(case), random.Random(repr(case)), _Model(case)
    numbers = model.numbers()
    fixed = sorted(numbers, key=lambda n: model.seconds(n))
    moving = len(case.rejected) > 1
    for number in {case.gpus, *fixed[: FIXED * (1 + moving)]}:
        found.run(((0.0, number),))
    singles = {
        ((0.0, a), (at, b)): model.seconds(a, at, b)
        for a in fixed[:6]
        for at in MOVE_AT
        for b in numbers
        if b != a
    }
    for moves in sorted(singles, key=lambda one: singles[one])[:SINGLE]:
        found.run(moves)
    if moving:
        first, second = (model.balanced(case.rejected[n]) for n in (0, -1))
        for at in (0.35, 0.5):
            found.run(((0.0, first), (at, second)))
    for _ in range(DOUBLE):
        moves = found.best[1]
        later = [at for at in MOVE_AT if at > moves[-1][0]]
        others = [n for n in numbers if n != moves[-1][1]]
        if len(moves) < 3 and later and others:
            found.run((*moves, (dice.choice(later), dice.choice(others))))
    for _ in range(NEIGHBOURS):
        found.run(_neighbour(found.best[1], case.gpus, dice))
    return found


def _neighbour(moves: Moves, gpus: int, dice: random.Random) -> Moves:
    """One of the plan's numbers a little more or less."""
    which = dice.randrange(len(moves))
    at, number = moves[which]
    if at and dice.random() < 0.5:
        at = round(min(0.95, max(0.02, at + dice.choice([-0.07, 0.07]))), 2)
    else:
        step = dice.choice([-1, 1]) * max(1, gpus // 20)
        number = max(1, min(gpus, number + step))
    changed = sorted([*moves[:which], (at, number), *moves[which + 1 :]])
    return tuple(changed)


class _Model:
    """Seconds of a plan by the policy's model of a rest, from the true facts."""

    def __init__(self, case: Case) -> None:
        self.case = case
        plans = plan_pools(PoolsSettings(), 4 * case.gpus, case.gpus, loads=Loads(rows=inf))
        assert plans.capacity is not None
        self._capacity: Capacity = plans.capacity
        rejected = case.rejected_rows
        parts, rest = divmod(case.rows, case.rows_per_part)
        draws = parts * ceil(case.rows_per_part / case.batch) + ceil(rest / case.batch)
        calls = sum(ceil(rows / case.batch) for rows in rejected)
        self._rejected = sum(rejected) / case.rows
        self._draw_rows = case.rows / draws
        self._refine_rows = sum(rejected) / calls if calls else float(case.batch)
        self._models: dict[int, LookAhead] = {}

    def numbers(self) -> list[int]:
        """Of students, to try."""
        gpus = self.case.gpus
        best = self.balanced(self._rejected)
        around = {best + n for n in range(-3, 4)}
        evenly = {round(gpus * n / NUMBERS) for n in range(1, NUMBERS + 1)}
        return sorted(n for n in {1, gpus} | around | evenly if 1 <= n <= gpus)

    def balanced(self, rejected: float) -> int:
        """Students that keep the teachers busy at this fraction."""
        case = self.case
        share = case.student / (case.student + rejected * case.teacher)
        return max(1, min(case.gpus, round(case.gpus * share)))

    def seconds(self, students: int, at: float = 1.0, then: int = 0) -> float:
        """To the end, if `then` students draw what is left when a part `at` of it is drawn."""
        if students not in self._models:
            self._models[students] = LookAhead(self._inputs(students))
        model = self._models[students]
        now = model.pricing.now()
        return model.seconds(now, model.pricing.split(then) if then else now, at)

    def _inputs(self, students: int) -> ScalingInput:
        case, capacity = self.case, self._capacity
        oracles = {"student": 0, "oracle": 1, "teacher": 0}
        students = capacity.most("student", oracles, students)
        teachers = capacity.most("teacher", {**oracles, "student": students}, case.gpus)

        def facts(size: int, seconds: float, rows: float) -> PoolFacts:
            each = seconds * case.batch / rows
            return PoolFacts(size=size, row_seconds=each, call_rows=rows, load_seconds=case.load)

        return ScalingInput(
            capacity=capacity,
            student=facts(students, case.student, self._draw_rows),
            oracle=facts(1, case.oracle, case.batch),
            teacher=facts(teachers, case.teacher, self._refine_rows),
            rejected=self._rejected,
            rows_to_draw=case.rows,
            waiting=0.0,
            students_free_in=[case.load] * students,
            teachers_next_in=[case.load] * teachers,
        )
