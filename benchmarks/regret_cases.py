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

from actors.errors import StalledError
from jobs.execution import scaling_controller
from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.runner import Runner
from jobs.scaling.decision import ScalingDecision, ScalingInput
from jobs.scaling.end_game import at_the_end
from jobs.scaling.initial_sizes import guess_loads, plan_pools
from jobs.scaling.policy import decide, looks_ahead
from jobs.scaling.pricing import Pricing
from jobs.simulation.executor import Durations
from jobs.simulation.job import SimulatedOutput, simulated_job
from jobs.simulation.light_executor import EVEN_SCORES, NUM_SCORES, LightExecutor
from jobs.spec.job_spec import make_spec
from jobs.spec.sample import sample_rows

THRESHOLD = 0.5

SAMPLE = 256
"""Rows from which the fraction is known to begin with, as most jobs know it from calibration."""

STALL_CALLS = 10.0
"""Loads and calls: a job in which nothing comes back for so long has stalled. Something comes back
within one of each, unless a plan fills the object store and has nobody who takes from it."""

FEW_GPUS = 16
"""Of a case that is made smaller. Chosen: a move of one of 16 is a move of 6 %, and with more of
them fewer calls would be left for each."""

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

    @property
    def longest_seconds(self) -> float:
        """Of a load and a call of each pool, one after the other."""
        return self.load + self.batch * (self.student + self.oracle + self.teacher)

    @property
    def rejected_rows(self) -> list[int]:
        """Of each part: the rows that are rejected."""
        parts = range(0, self.rows, self.rows_per_part)
        return [
            sum(self.is_rejected(row) for row in range(n, min(self.rows, n + self.rows_per_part)))
            for n in parts
        ]

    @property
    def calibrated(self) -> float:
        """The fraction of a calibration's sample that is rejected, as a job knows it beforehand."""
        sample = sample_rows(self.rows, min(SAMPLE, self.rows), seed=0)
        return sum(map(self.is_rejected, sample)) / len(sample)

    def is_rejected(self, row: int) -> bool:
        """Whether a row is: with its chance."""
        return EVEN_SCORES[row % NUM_SCORES] < self.chance(row)

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
        """Below the threshold where the row is rejected."""
        first, is_rejected = owner.part.first_row, self._case.is_rejected
        return [0.0 if is_rejected(first + row) else 1.0 for row in call.rows]


@dataclass(frozen=True)
class Run:
    """`seconds`: from the first load to the end. `timeline`: the changes of the sizes."""

    seconds: float
    timeline: list[Mapping[str, Any]] = field(default_factory=list)


def run(case: Case, moves: Moves = ()) -> Run:
    """As for everybody, or by `moves`, of which the first is the students to begin with."""
    refine = case.calibrated
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
            **{"strategy": "regenerate", "budget": {"refine": refine}},
            "stall_timeout_seconds": STALL_CALLS * case.longest_seconds,
        }
    )
    job = simulated_job(spec, case.rows, "latents", frozenset())
    job = replace(job, refinements=(replace(job.refinement, steps=teacher_steps),))
    assert isinstance(job.output, SimulatedOutput)
    job.output.job = {"calibration": {"refine": refine, "rows": min(SAMPLE, case.rows)}}
    loads = guess_loads(job)
    if moves:
        loads = replace(loads, rows=inf)  # the first sizes are given: nobody looks for them
    plans = plan_pools(spec.pools, 4 * case.gpus, case.gpus, loads=loads)
    sizes, policy, looks = dict(plans.sizes), decide, looks_ahead
    assert plans.capacity is not None
    if moves:
        students = moves[0][1]
        sizes.update(student=0, teacher=0)
        sizes["student"] = plans.capacity.most("student", sizes, students)
        sizes["teacher"] = plans.capacity.most("teacher", sizes, case.gpus)
        policy, looks = _by(case, moves), lambda inputs: False
    executor = CaseExecutor(case)
    with (
        patch.object(scaling_controller, "decide", policy),
        patch.object(scaling_controller, "looks_ahead", looks),
        Dispatcher(
            job,
            executor,
            sizes,
            20 * case.gpus,
            object_store_bytes=case.store_rows,
            capacity=plans.capacity,
        ) as dispatcher,
    ):
        try:
            Runner(job).run(dispatcher, job.rules(THRESHOLD))
        except StalledError:
            if not moves:
                raise
            return Run(inf)  # its students filled the object store, and it has no teachers
        seconds = executor.now()
    return Run(seconds, job.output.timeline)


def _by(case: Case, moves: Moves) -> Callable[[ScalingInput], ScalingDecision]:
    def policy(inputs: ScalingInput) -> ScalingDecision:
        if inputs.last_draws:
            return at_the_end(inputs)
        pricing, drawn = Pricing(inputs), 1 - inputs.rows_to_draw / case.rows
        students = [number for since, number in moves if since <= drawn][-1]
        if students == inputs.student.size or len(moves) == 1:
            return pricing.decision_on_oracles()
        return ScalingDecision(pricing.split(students).sizes, "by hindsight")

    return policy


def random_cases(count: int, seed: int, most_calls: int) -> list[Case]:
    """`count` cases, of those with up to `most_calls` calls of the student."""
    dice = random.Random(seed)
    found: list[Case] = []
    while len(found) < count:
        case = _random_case(dice)
        if case.rows / case.batch <= most_calls and case.gpus > 1:
            found.append(case)
    return found


def affordable_cases(count: int, seed: int, most_calls: int) -> list[Case]:
    """`count` cases of all sizes; those with more than `most_calls` calls are made smaller."""
    dice = random.Random(seed)
    cases = (_random_case(dice) for _ in range(2 * count))
    return [smaller(case, most_calls) for case in cases if case.gpus > 1][:count]


def smaller(case: Case, most_calls: int) -> Case:
    """As many GPUs fewer as rows fewer, down to FEW_GPUS, and of more rows only the first.

    Beginning and end count for more of a job of fewer rows: the regret is no smaller.
    """
    if case.rows / case.batch <= most_calls:
        return case
    gpus = min(case.gpus, max(FEW_GPUS, round(case.gpus * most_calls * case.batch / case.rows)))
    rows = min(round(case.rows * gpus / case.gpus), most_calls * case.batch)
    store = case.store_rows
    if store < inf:
        least = 4 * case.batch * gpus + 4 * case.rows_per_part
        store = float(max(least, round(store * gpus / case.gpus)))
    return replace(case, rows=rows, gpus=gpus, store_rows=store)


def _random_case(dice: random.Random) -> Case:
    def log_between(low: float, high: float) -> float:
        return float(low * (high / low) ** dice.random())

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
    return case
