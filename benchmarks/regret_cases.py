"""Jobs on the virtual clock that are planned by hindsight, for benchmarks/regret.py and a test.

A case runs as it does for everybody, or by a plan that knows it all: numbers of students, each from
some fraction of the drawing on. When everything is drawn the teachers get what helps them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf
from typing import Any
from unittest.mock import patch

from jobs.execution import scaling_controller
from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.runner import Runner
from jobs.scaling.decision import ScalingDecision, ScalingInput
from jobs.scaling.end_game import at_the_end
from jobs.scaling.initial_sizes import guess_loads, plan_pools
from jobs.scaling.policy import decide
from jobs.scaling.pricing import Pricing
from jobs.simulation.executor import Durations
from jobs.simulation.job import SimulatedOutput, simulated_job
from jobs.simulation.light_executor import LightExecutor
from jobs.spec.job_spec import make_spec

THRESHOLD = 0.5

SAMPLE = 256
"""Rows from which the fraction is known to begin with, as most jobs know it from calibration."""

SPLITS = 9
"""Numbers of students that are tried on a large cluster, beside none and all."""

MOVE_AT = (0.1, 0.3, 0.5, 0.7, 0.85)
"""Fractions of the drawing at which a plan may change the number of students."""

Moves = tuple[tuple[float, int], ...]
"""Pairs of the drawn fraction and the students from there on."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Seconds of a row; `rejected`: fractions of stretches of equal length. `store_rows`: the room
    in the object store, in outputs of rows."""

    rows: int
    rejected: tuple[float, ...]
    student: float
    teacher: float
    oracle: float
    batch: int
    load: float
    gpus: int
    rows_per_part: int = 1024
    store_rows: float = inf

    @property
    def work_seconds(self) -> float:
        """If no GPU idled or loaded."""
        mean = sum(self.rejected) / len(self.rejected)
        return self.rows * (self.student + mean * self.teacher) / self.gpus

    def chance(self, row: int) -> float:
        """Of a row: that it is rejected."""
        return self.rejected[min(len(self.rejected) - 1, row * len(self.rejected) // self.rows)]


NAMED = {
    "1,200 rows, p 0.3": Case(
        rows=1200, rejected=(0.3,), student=0.4, teacher=2.0, oracle=0.02, batch=8, load=5, gpus=8
    ),
    "1,200 rows, p 0.05 to 0.75": Case(
        rows=1200, rejected=(0.05, 0.75), student=0.4, teacher=2.0, oracle=0.02, batch=8, load=5,
        gpus=8,
    ),
}  # fmt: skip


class CaseExecutor(LightExecutor):
    """Rejects each row with its chance."""

    def __init__(self, case: Case) -> None:
        seconds = {"student": case.student, "oracle": case.oracle, "teacher": case.teacher}
        each = {pool: one * case.batch for pool, one in seconds.items()}
        super().__init__(Durations(load=case.load, batch=each, files=0.05), num_nodes=1)
        self._case = case

    def scores(self, owner: ActivePart, call: Call) -> Sequence[float]:
        """Below the threshold with the row's chance."""
        first, chance = owner.part.first_row, self._case.chance
        evenly = super().scores(owner, call)
        return [
            0.0 if place < chance(first + row) else 1.0
            for place, row in zip(evenly, call.rows, strict=True)
        ]


@dataclass(frozen=True)
class Run:
    """`seconds`: from the first load to the end. `timeline`: the changes of the sizes."""

    seconds: float
    timeline: list[Mapping[str, Any]] = field(default_factory=list)


def run(case: Case, moves: Moves = ()) -> Run:
    """As for everybody, or by `moves`, of which the first is the students to begin with."""
    mean = sum(case.rejected) / len(case.rejected)
    steps = {"steps": 1, "guidance_scale": 0.0, "batch_size": case.batch}
    # What a row takes more than six evaluations is a step.
    teacher_steps = max(1, round(7 * case.teacher / case.student - 6))
    spec = make_spec(
        {
            **{"input": "-", "output": "-", "rows_per_part": case.rows_per_part},
            "models": {
                "preset": "timed",
                "student": steps,
                "teacher": {**steps, "steps": teacher_steps},
                "oracle": {"batch_size": case.batch},
            },
            **{"strategy": "regenerate", "budget": {"refine": mean}},
            "stall_timeout_seconds": 360_000,
        }
    )
    job = simulated_job(spec, case.rows, "latents", frozenset())
    job = replace(job, refinements=(replace(job.refinement, steps=teacher_steps),))
    assert isinstance(job.output, SimulatedOutput)
    job.output.job = {"calibration": {"refine": mean, "rows": min(SAMPLE, case.rows)}}
    plans = plan_pools(spec.pools, 4 * case.gpus, case.gpus, loads=guess_loads(job))
    sizes, policy = dict(plans.sizes), decide
    assert plans.capacity is not None
    if moves:
        students = moves[0][1]
        sizes.update(student=0, teacher=0)
        sizes["student"] = plans.capacity.most("student", sizes, students)
        sizes["teacher"] = plans.capacity.most("teacher", sizes, case.gpus)
        policy = _by(case, moves)
    executor = CaseExecutor(case)
    with (
        patch.object(scaling_controller, "decide", policy),
        Dispatcher(
            job,
            executor,
            sizes,
            20 * case.gpus,
            object_store_bytes=case.store_rows,
            capacity=plans.capacity,
        ) as dispatcher,
    ):
        Runner(job).run(dispatcher, job.rules(THRESHOLD))
        seconds = executor.now()
    return Run(seconds, job.output.timeline)


def _by(case: Case, moves: Moves) -> Callable[[ScalingInput], ScalingDecision]:
    def policy(inputs: ScalingInput) -> ScalingDecision:
        if inputs.rows_to_draw <= 0:
            return at_the_end(inputs)
        pricing, drawn = Pricing(inputs), 1 - inputs.rows_to_draw / case.rows
        students = [number for since, number in moves if since <= drawn][-1]
        if students == inputs.student.size or len(moves) == 1:
            return pricing.decision_on_oracles()
        return ScalingDecision(pricing.split(students).sizes, "by hindsight")

    return policy


def numbers(gpus: int) -> list[int]:
    """Of students, to try."""
    if gpus <= SPLITS:
        return list(range(1, gpus + 1))
    some = {max(1, round(gpus * n / (SPLITS + 1))) for n in range(1, SPLITS + 1)}
    return sorted({1, *some, gpus})


def best_fixed(case: Case) -> dict[int, float]:
    """Seconds by number of students, to the last drawn row; all of them is drawing first."""
    return {n: run(case, ((0.0, n),)).seconds for n in numbers(case.gpus)}


def best_moves(case: Case, fixed: Mapping[int, float], tries: int) -> tuple[float, Moves]:
    """The fastest plan of up to two moves that `tries` simulations each find."""
    seconds, start = min((seconds, n) for n, seconds in fixed.items())
    found: tuple[float, Moves] = (seconds, ((0.0, start),))
    starts = sorted(fixed, key=lambda n: fixed[n])[:3]
    singles = [
        ((0.0, a), (at, b)) for a in starts for at in MOVE_AT for b in numbers(case.gpus) if b != a
    ]
    dice = random.Random(repr(case))
    for moves in dice.sample(singles, min(tries, len(singles))):
        found = min(found, (run(case, moves).seconds, moves))
    if len(found[1]) == 2:
        first, (at, b) = found[1]
        doubles = [
            (first, (at, b), (later, c))
            for later in MOVE_AT
            if later > at
            for c in numbers(case.gpus)
            if c != b
        ]
        for more in dice.sample(doubles, min(tries, len(doubles))):
            found = min(found, (run(case, more).seconds, more))
    return found


def random_cases(count: int, seed: int, most_calls: int) -> list[Case]:
    """`count` cases, of those with up to `most_calls` calls of the student."""
    dice = random.Random(seed)

    def log_between(low: float, high: float) -> float:
        return float(low * (high / low) ** dice.random())

    found: list[Case] = []
    while len(found) < count:
        p = dice.choice([0.02, 0.05, 0.1, 0.3, 0.5, 0.8])
        rejected = dice.choice(
            [
                (p,),
                (p,),
                (p, min(0.95, 4 * p)),
                (min(0.95, 4 * p), p),
                tuple(min(0.95, max(0.0, p * dice.uniform(0.3, 1.7))) for _ in range(12)),
            ]
        )
        student = log_between(0.03, 1.0)
        case = Case(
            rows=round(log_between(100, 1e6)),
            rejected=rejected,
            student=student,
            teacher=student * log_between(2, 40),
            oracle=student * log_between(0.01, 0.3),
            batch=dice.choice([1, 4, 8, 16]),
            load=log_between(1, 60),
            gpus=round(log_between(1.5, 512)),
            rows_per_part=dice.choice([256, 1024]),
        )
        if dice.random() < 0.3:
            # Two outputs of each row that is under way at the least, and of two parts.
            least = 4 * case.batch * case.gpus + 4 * case.rows_per_part
            store = max(least, ceil(case.rows * log_between(0.1, 2)))
            case = replace(case, store_rows=float(store))
        if case.rows / case.batch <= most_calls and case.gpus > 1:
            found.append(case)
    return found
