"""Seeded fault schedules against the real scheduling code, and what must hold after each.

A trial runs a small job on simulated hands (`jobs.simulation.executor`) while actors and nodes die,
hang, dawdle and raise, things are lost, answers come late and twice, and the driver is restarted.
Then:

- every part is committed, with the content, and from the batches, of a run in peace;
- a part that had its record when the driver was restarted is not touched again;
- nothing is left in the object store;
- no call is made again that no fault explains (`Ledger`), and none without end.

`python -m tests.simulation.trials --seed N` replays one trial and tells its story; docs/faults.md.
"""

from __future__ import annotations

import argparse
import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from time import process_time
from traceback import format_exc
from typing import Any

from jobs.execution.calls import Call, Stage
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.runner import Runner
from jobs.scaling.capacity import Capacity, Devices
from jobs.simulation.job import SimulatedOutput, simulated_job
from tests.simulation.fault_plans import POOLS, Breaks, FaultPlan, SmallJob, make_fault_plan
from tests.simulation.faulty_executor import FaultyExecutor, RestartError

SHARES = {"student": 1.0, "oracle": 0.5, "teacher": 1.0}
"""Of a GPU, where the pools are balanced."""


@dataclass
class Verdict:
    """How a trial went. `content` by part; `problems` is empty if all is well.

    `batch_of`: by part, stage and row, the batch that the row was drawn or refined in first.
    """

    content: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    batch_of: dict[tuple[int, Stage, int], tuple[int, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    interactions: int = 0
    num_calls: int = 0
    lives: int = 0


class Trial:
    """A schedule being run: what outlives the driver."""

    def __init__(self, plan: FaultPlan, quiet: Verdict | None, narrate: Callable[[str], None]):
        self.plan = plan
        self.narrate = narrate
        self.output = SimulatedOutput()
        self.seconds = quiet.seconds if quiet else 1.0
        self.left = [fault for fault in plan.faults if fault.what is not Breaks.RESTART]
        self.restarts = sorted(
            int(fault.at * quiet.interactions)
            for fault in plan.faults
            if fault.what is Breaks.RESTART and quiet
        )
        self.interactions = self.num_calls = 0
        self.memory: dict[str, int] = {}
        self.failing_commits: list[Breaks] = []
        self.verdict = Verdict()
        self._quiet = quiet
        self.capacity: Capacity | None = None
        if gpus := plan.job.gpus:
            self.capacity = Capacity((Devices(gpus, frozenset(POOLS)),), SHARES)
        self.may_dismiss = bool(gpus) or any(f.what is Breaks.RESIZE for f in plan.faults)

    def problem(self, text: str) -> None:
        self.verdict.problems.append(text)
        self.narrate(f"PROBLEM: {text}")

    def committed(self, record: dict[str, Any], rows: list[tuple[Any, ...]]) -> None:
        """A part was written; the record makes it count."""
        part = record["part"]
        self.output.kept[part] = record
        self.verdict.content[part] = rows
        if self._quiet and _comparable(rows) != _comparable(self._quiet.content[part]):
            self.problem(f"part {part} has other content than in a run in peace")

    def check_batch(self, part: int, call: Call) -> None:
        """Batches are a function of the part: a call is a batch of the quiet run, or a piece."""
        if call.stage not in (Stage.DRAW, Stage.REFINE):
            return
        for row in call.rows:
            self.verdict.batch_of.setdefault((part, call.stage, row), call.rows)
        if self._quiet:
            known = self._quiet.batch_of
            if len({known.get((part, call.stage, row)) for row in call.rows}) > 1:
                self.problem(f"{call} of part {part} is no batch of a run in peace")

    def run(self) -> Verdict:
        verdict = self.verdict
        small = self.plan.job
        spec = small.spec(self.plan.max_attempts, self.plan.call_timeout_seconds)
        job = replace(
            simulated_job(spec, small.num_rows, small.through, small.invalid_rows),
            output=self.output,
        )
        again = True
        while again:
            verdict.lives += 1
            executor = FaultyExecutor(self, verdict.seconds)
            again = False
            sizes = dict(zip(POOLS, small.sizes, strict=True))
            try:
                with Dispatcher(
                    job, executor, sizes, small.task_slots, capacity=self.capacity
                ) as dispatcher:
                    executor.dispatcher = dispatcher
                    try:
                        Runner(job).run(dispatcher, job.rules(small.threshold))
                    finally:
                        executor.over = True
                    executor.drain()
                    for ref in executor.store:
                        self.problem(f"the {ref.output} of {ref.call} of part {ref.part} are held")
            except RestartError:
                again = True
            except Exception as error:  # noqa: BLE001  a crash is a finding like any other
                self.problem(f"{type(error).__name__}: {error}")
                self.narrate(format_exc())
            verdict.seconds = executor.now()
            for problem in executor.ledger.problems(self._most_attempts()):
                self.problem(problem)
        verdict.interactions, verdict.num_calls = self.interactions, self.num_calls
        num_parts = job.prompts.num_parts
        for part in sorted(set(range(num_parts)) - set(self.output.kept)):
            self.problem(f"part {part} was not committed")
        return verdict

    def _most_attempts(self) -> int:
        """For each halving of a batch all the attempts; and what is nobody's fault.

        A row that kills its actor costs the call behind it as many.
        """
        job = self.plan.job
        halvings = max(job.batches).bit_length() + 1
        poison = max(1, len(job.poison))
        return self.plan.max_attempts * halvings * poison + 5 * len(self.plan.faults) + 5


def _comparable(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Whether a row failed is part of the content; why it did may depend on the time."""
    return [(*row[:5], row[5] and row[5].split(":")[0], *row[6:]) for row in rows]


@cache
def _quiet(job: SmallJob) -> Verdict:
    """The same job with nothing but its poison."""
    return _run(FaultPlan(seed=0, job=job), None, lambda _: None)


def run_trial(plan: FaultPlan, narrate: Callable[[str], None] = lambda _: None) -> Verdict:
    """Run a schedule; `tell` hears its story, line by line."""
    quiet = _quiet(plan.job)
    return quiet if quiet.problems else _run(plan, quiet, narrate)


def _run(plan: FaultPlan, quiet: Verdict | None, narrate: Callable[[str], None]) -> Verdict:
    # What is held must be let go of by the code itself, not by the collector of cycles.
    gc.disable()
    try:
        return Trial(plan, quiet, narrate).run()
    finally:
        gc.enable()


def main() -> None:
    """Replay one seed, or run many; exits with 1 if something is wrong."""
    parser = argparse.ArgumentParser(description="Seeded fault schedules; see docs/faults.md.")
    parser.add_argument("--seed", type=int, help="replay this one, with its story")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000)
    args = parser.parse_args()
    if args.seed is not None:
        logging.basicConfig(level=logging.INFO, format="            %(message)s")
        plan = make_fault_plan(args.seed)
        print(plan.job, *plan.faults, sep="\n")
        raise SystemExit(bool(run_trial(plan, print).problems))
    logging.disable()
    start, bad = process_time(), 0
    for seed in range(args.first, args.first + args.count):
        for problem in (problems := run_trial(make_fault_plan(seed)).problems)[:1]:
            print(f"seed {seed}: {problem}" + (f" (and {len(problems) - 1} more)"))
            bad += 1
    seconds = process_time() - start
    print(f"{args.count} schedules, {bad} with problems, {args.count / seconds:.0f} a core-second")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
