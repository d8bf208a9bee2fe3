"""How much slower is a job than the best split, by hindsight? `python benchmarks/regret.py`.

Jobs on the virtual clock, over a grid drawn at random: rows, the rejected fraction (constant,
jumping, in waves), seconds, batches, loading times, GPUs, the oracle's share. Each runs as it does
for everybody, and with every number of students from the beginning to the last drawn row, after
which the teachers get what helps them; with all GPUs drawing that is drawing first. The regret is
the time beyond the fastest of these. It prints the distribution and the worst ten cases.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from unittest.mock import patch

from timed_jobs import write_result

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
SPLITS = 9
"""Numbers of students that are tried on a large cluster, beside none and all."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Seconds of a row; `rejected`: fractions of stretches of equal length."""

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


def kept(inputs: ScalingInput) -> ScalingDecision:
    """The sizes stay while rows are drawn, but for the oracles."""
    if inputs.rows_to_draw > 0:
        return Pricing(inputs).decision_on_oracles()
    return at_the_end(inputs)


def run(
    case: Case,
    students: int | None = None,
    policy: Callable[[ScalingInput], ScalingDecision] = decide,
) -> tuple[float, list[Mapping[str, int]]]:
    """Seconds from the first load to the end, and the sizes. `students`: to begin with."""
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
    job = replace(job, refinement=replace(job.refinement, steps=teacher_steps))
    plans = plan_pools(spec.pools, 4 * case.gpus, case.gpus, loads=guess_loads(job))
    sizes = dict(plans.sizes)
    assert plans.capacity is not None
    if students is not None:
        sizes.update(student=students, teacher=0)
        most = plans.capacity.most("student", {**sizes, "student": 0}, students)
        sizes["student"] = most
        sizes["teacher"] = plans.capacity.most("teacher", sizes, case.gpus)
    executor = CaseExecutor(case)
    with (
        patch.object(scaling_controller, "decide", policy),
        Dispatcher(
            job, executor, sizes, 20 * case.gpus, case.store_rows, capacity=plans.capacity
        ) as dispatcher,
    ):
        Runner(job).run(dispatcher, job.rules(THRESHOLD))
        seconds = executor.now()
    assert isinstance(job.output, SimulatedOutput)
    return seconds, [entry["sizes"] for entry in job.output.timeline]


def best(case: Case) -> tuple[float, int]:
    """The fastest split by hindsight, and its students."""
    numbers = {case.gpus, *(max(1, round(case.gpus * n / (SPLITS + 1))) for n in range(1, 10))}
    numbers |= {n for n in range(1, case.gpus) if case.gpus <= SPLITS}
    return min((run(case, n, kept)[0], n) for n in sorted(numbers))


def cases(count: int, seed: int, most_work: int) -> list[Case]:
    """`count` cases; of the large ones only those with up to `most_work` rows are simulated."""
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
            gpus=round(log_between(2, 512)),
            rows_per_part=dice.choice([256, 1024]),
        )
        if case.rows / case.batch <= most_work:
            found.append(case)
    return found


NAMED = {
    "1,200 rows, p 0.3": Case(
        rows=1200, rejected=(0.3,), student=0.4, teacher=2.0, oracle=0.02, batch=8, load=5, gpus=8
    ),
    "1,200 rows, p 0.05 to 0.75": Case(
        rows=1200, rejected=(0.05, 0.75), student=0.4, teacher=2.0, oracle=0.02, batch=8, load=5,
        gpus=8,
    ),
}  # fmt: skip


def main() -> None:
    """Print the regrets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most-batches", type=int, default=2000, help="of a case's students")
    args = parser.parse_args()
    logging.disable()
    for name, case in NAMED.items():
        (seconds, sizes), (least, students) = run(case), best(case)
        first, _ = run(case, case.gpus, kept)
        moves = " -> ".join(f"{each['student']}/{each['teacher']}" for each in sizes)
        print(
            f"{name}: {seconds:.0f} s ({moves}); drawing first {first:.0f} s, the best split "
            f"({students} students) {least:.0f} s, the work is {case.work_seconds:.0f} s"
        )
    found = []
    for case in cases(args.cases, args.seed, args.most_batches):
        (seconds, sizes), (least, students) = run(case), best(case)
        found.append((seconds / least - 1, seconds, least, students, sizes, case))
    found.sort(key=lambda one: one[0])
    regrets = [one[0] for one in found]
    middle, high = regrets[len(found) // 2], regrets[int(0.99 * (len(found) - 1))]
    mean = sum(regrets) / len(regrets)
    print(
        f"{len(found)} cases: regret {mean:.1%} on average, {middle:.1%} in the middle, 99th "
        f"percentile {high:.1%}, worst {regrets[-1]:.1%}"
    )
    for regret, seconds, least, students, sizes, case in reversed(found[-10:]):
        moves = " -> ".join(f"{each['student']}/{each['teacher']}" for each in sizes[:6])
        print(
            f"{regret:+.1%}: {seconds:.0f} s, with {students} students {least:.0f} s, work "
            f"{case.work_seconds:.0f} s; {len(sizes) - 1} changes {moves}\n        {case}"
        )
    write_result(
        "regret",
        {"cases": len(found), "mean": mean, "median": middle, "p99": high, "worst": regrets[-1]},
    )


if __name__ == "__main__":
    main()
