"""Trials: seeded fault plans against the real scheduling code, and what must hold after each.

A trial runs a small job on a simulated executor (`jobs.simulation.executor`) while actors and nodes
die, hang, slow down and raise, references are lost, completions come late and twice, and the driver
is restarted. Then:

- every part is committed, with the content and from the batches of a run without faults;
- a part that had its record when the driver was restarted is not touched again;
- nothing is left in the object store;
- faults explain each call that is made again (`Ledger`), and none is repeated without end.

`python -m tests.simulation.trials --seed N` replays one trial and prints its log; docs/faults.md.
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

from jobs.execution.calls import Call
from jobs.execution.decision_log import DecisionLog
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.observers import Observer
from jobs.execution.runner import Runner
from jobs.execution.stages import Stage, Step
from jobs.scaling.capacity import Capacity, Devices
from jobs.simulation.executor import extra_score_of
from jobs.simulation.job import SimulatedOutput, option_of, simulated_job
from tests.simulation.fault_plans import POOLS, FaultKind, FaultPlan, SmallJob, make_fault_plan
from tests.simulation.faulty_executor import FaultyExecutor, RestartError

SHARES = {"student": 1.0, "oracle": 0.5, "teacher": 1.0}
"""Of a GPU, where the pools are balanced. Chosen: two oracles share a GPU, so packing matters."""


@dataclass
class Verdict:
    """A trial's result. `content`: rows by part. `problems`: empty if the trial passed.

    `batch_of`: by part, step and row, the batch that the row was drawn or refined in first.
    `interactions`: calls of the executor's methods. `num_drivers`: one more than the restarts.
    """

    content: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    batch_of: dict[tuple[int, Step, int], tuple[int, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    interactions: int = 0
    num_calls: int = 0
    num_drivers: int = 0


class Trial:
    """A fault plan being run, with the state that outlives a driver.

    `faultless`: the verdict on the same job without faults; None for that run itself.
    """

    def __init__(self, plan: FaultPlan, faultless: Verdict | None, log: Callable[[str], None]):
        self.plan = plan
        self.log = log
        self.output = SimulatedOutput()
        self.observer: Observer | None = None
        self.decisions: DecisionLog | None = None
        """Follows the open parts, where a test wants to replay them."""
        self.seconds = faultless.seconds if faultless else 1.0
        self.left = [fault for fault in plan.faults if fault.kind is not FaultKind.RESTART]
        self.restarts = sorted(
            int(fault.at * faultless.interactions)
            for fault in plan.faults
            if fault.kind is FaultKind.RESTART and faultless
        )
        self.interactions = self.num_calls = 0
        self.gpus_left = plan.job.gpus or 0
        """GPUs that have not left the cluster."""
        self.others_stay = False
        """Others want GPUs to the end; the job has one."""
        self.memory: dict[str, int] = {}
        self.failing_commits: list[FaultKind] = []
        self.verdict = Verdict()
        self._faultless = faultless
        self.capacity: Capacity | None = None
        if gpus := plan.job.gpus:
            self.capacity = Capacity((Devices(gpus, frozenset(POOLS)),), SHARES)
        self.may_dismiss = bool(gpus) or any(f.kind is FaultKind.RESIZE for f in plan.faults)

    def problem(self, text: str) -> None:
        self.verdict.problems.append(text)
        self.log(f"PROBLEM: {text}")

    def committed(self, record: dict[str, Any], rows: list[tuple[Any, ...]]) -> None:
        """A part was written; the record makes it count."""
        part = record["part"]
        self.output.kept[part] = record
        self.verdict.content[part] = rows
        for row in rows:
            self._check_not_finite(*row)
            *_, picture, _, extra_scores = row
            if extra_scores != (picture and (extra_score_of(picture[1]),)):
                self.problem(f"a row has the extra score of another picture: {row}")
        if self._faultless and _comparable(rows) != _comparable(self._faultless.content[part]):
            self.problem(f"part {part} has other content than in a run without faults")

    def _check_not_finite(self, seed: int, *row: Any) -> None:
        """No row has a picture of a further attempt whose numbers are not finite."""
        score, teacher_score, source, _, error, picture, *_ = row
        job = self.plan.job
        if error or seed not in job.not_finite or (not job.ladder and score >= job.threshold):
            return
        if (teacher_score, source, picture[1][:2]) != (None, "student", ("drawn", seed)):
            self.problem(f"row {seed} has a picture that is not finite: {row}")

    def check_batch(self, part: int, call: Call) -> None:
        """Batches are a function of the part: a call is a batch of the run without faults, or a
        piece of one."""
        if call.stage not in (Stage.DRAW, Stage.REFINE):
            return
        small = self.plan.job
        options = small.options["teacher" if call.stage is Stage.REFINE else "student"]
        first = part * small.rows_per_part
        rows = [first + row for row in call.rows]
        if len({option_of(row, options, small.rows_per_part) for row in rows}) > 1:
            self.problem(f"{call} of part {part} has rows with different options")
        for row in call.rows:
            self.verdict.batch_of.setdefault((part, call.step, row), call.rows)
        if self._faultless:
            known = self._faultless.batch_of
            if len({known.get((part, call.step, row)) for row in call.rows}) > 1:
                self.problem(f"{call} of part {part} is no batch of a run without faults")

    def run(self) -> Verdict:
        verdict = self.verdict
        small = self.plan.job
        spec = small.spec(self.plan.max_attempts, self.plan.call_timeout_seconds)
        job = replace(
            simulated_job(
                spec, small.num_rows, small.through, small.invalid_rows, options=small.options
            ),
            output=self.output,
        )
        again = True
        while again:
            verdict.num_drivers += 1
            executor = FaultyExecutor(self, verdict.seconds)
            again = False
            sizes = dict(zip(POOLS, small.sizes, strict=True))
            try:
                with Dispatcher(
                    job, executor, sizes, small.task_slots, capacity=self.capacity
                ) as dispatcher:
                    executor.dispatcher = dispatcher
                    if self.observer:
                        dispatcher.observers.add(self.observer)
                    try:
                        Runner(job, decisions=self.decisions).run(
                            dispatcher, job.rules(*small.thresholds())
                        )
                    finally:
                        executor.over = True
                    executor.drain()
                    for ref in executor.store:
                        self.problem(f"the {ref.output} of {ref.call} of part {ref.part} are held")
            except RestartError:
                again = True
            except Exception as error:  # noqa: BLE001  a crash is a problem like any other
                self.problem(f"{type(error).__name__}: {error}")
                self.log(format_exc())
            verdict.seconds = executor.now()
            for problem in executor.ledger.problems(self._most_attempts()):
                self.problem(problem)
        verdict.interactions, verdict.num_calls = self.interactions, self.num_calls
        num_parts = job.prompts.num_parts
        for part in sorted(set(range(num_parts)) - set(self.output.kept)):
            self.problem(f"part {part} was not committed")
        return verdict

    def _most_attempts(self) -> int:
        """All the attempts for each halving of a batch, and failures without blame.

        A row that kills its actor costs the call queued behind it as many attempts.
        """
        job = self.plan.job
        halvings = max(job.batches).bit_length() + 1
        poison = max(1, len(job.poison))
        return self.plan.max_attempts * halvings * poison + 5 * len(self.plan.faults) + 5


def _comparable(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows without the details of their errors, which may depend on time; that one failed stays."""
    return [(*row[:5], row[5] and row[5].split(":")[0], *row[6:]) for row in rows]


@cache
def _faultless(job: SmallJob) -> Verdict:
    """The verdict on a job with no fault but its poison rows."""
    return _run(FaultPlan(seed=0, job=job), None, lambda _: None)


def run_trial(
    plan: FaultPlan,
    log: Callable[[str], None] = lambda _: None,
    observer: Observer | None = None,
) -> Verdict:
    """Run a fault plan; `log` gets each line of its log, `observer` the events of the job."""
    faultless = _faultless(plan.job)
    return faultless if faultless.problems else _run(plan, faultless, log, observer)


def _run(
    plan: FaultPlan,
    faultless: Verdict | None,
    log: Callable[[str], None],
    observer: Observer | None = None,
) -> Verdict:
    # The code itself must drop its references; Python's collector of cycles must not do it.
    gc.disable()
    try:
        trial = Trial(plan, faultless, log)
        trial.observer = observer
        return trial.run()
    finally:
        gc.enable()


def main() -> None:
    """Replay one seed, or run many; exits with 1 if something is wrong."""
    parser = argparse.ArgumentParser(description="Seeded fault plans; see docs/faults.md.")
    parser.add_argument("--seed", type=int, help="replay this one, and print its log")
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
    print(f"{args.count} plans, {bad} with problems, {args.count / seconds:.0f} a core-second")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
