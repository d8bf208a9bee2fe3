"""Seeded fault schedules against the real scheduling code, and what must hold after each.

A trial runs a small job on simulated hands (`jobs.simulation`) while actors and nodes die, hang,
dawdle and raise, things are lost, answers come late and twice, and the driver is restarted. Then:

- every part is committed, with the content, and from the batches, of a run in peace;
- a part that had its record when the driver was restarted is not touched again;
- nothing is left in the object store;
- no call is made again that no fault explains (`_Ledger`), and none without end.

`python -m jobs.faults --seed N` replays one trial and tells its story; docs/faults.md.
"""

from __future__ import annotations

import argparse
import gc
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from math import inf
from random import Random
from time import process_time
from traceback import format_exc
from typing import Any

from actors.errors import BottegaError
from jobs.cascade import Call, Stage
from jobs.crew import Crew
from jobs.hands import Answer, Kind, Trouble, Work
from jobs.runner import Runner
from jobs.simulation import (
    DRIVER_NODE,
    SimulatedActor,
    SimulatedHands,
    SimulatedOutput,
    SimulatedRef,
    Times,
    simulated_job,
)
from jobs.spec import JobSpec, make_spec

POOLS = ("student", "oracle", "teacher")
ACTOR_STAGES = (Stage.DRAW, Stage.SCORE_DRAWN, Stage.REFINE, Stage.SCORE_REFINED)
MAX_TURNS = 20_000
"""A trial that turns the runner's loop more often is taken to have no end."""


class Breaks(StrEnum):
    """What can go wrong."""

    KILL_LOADING = "an actor dies while it loads"
    KILL_IDLE = "an actor dies while it has nothing to do"
    KILL_WORKING = "an actor dies with one call"
    KILL_BUSY = "an actor dies with two calls"
    KILL_NODE = "a node dies"
    LOSE = "a reference is lost"
    SLOW = "an actor becomes slow"
    HANG = "an actor hangs"
    RAISE = "an actor raises once"
    RAISE_ALWAYS = "an actor raises from now on"
    MEMORY = "a pool's devices have less memory from now on"
    LATE = "an answer comes late"
    TWICE = "an answer comes twice"
    COMMIT = "a commit fails before it writes"
    COMMIT_UNTOLD = "a commit fails after it wrote"
    RESTART = "the driver is restarted"


@dataclass(frozen=True, slots=True)
class Fault:
    """`at`: when, as a fraction of the quiet run. `pick`, `size`: which, and how much."""

    what: Breaks
    at: float
    pick: int
    size: float


@dataclass(frozen=True, slots=True)
class Poison:
    """A row that raises, kills its actor, or hangs it, whenever it comes to a stage."""

    row: int
    stage: Stage
    how: Breaks


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """A small job, on a small cluster."""

    num_rows: int
    rows_per_part: int
    batches: tuple[int, int, int]
    sizes: tuple[int, int, int]
    num_nodes: int
    task_slots: int
    threshold: float
    strategy: str
    through: str
    keep: str
    save_student: bool
    unusable: frozenset[int]
    poison: tuple[Poison, ...]

    def spec(self, max_attempts: int, call_timeout_seconds: float | None) -> JobSpec:
        """The job file."""
        settings = {n: {"batch_size": b} for n, b in zip(POOLS, self.batches, strict=True)}
        return make_spec(
            {
                "input": "simulated",
                "output": "simulated",
                "models": {"preset": "shapes", **settings},
                "strategy": self.strategy,
                "keep": self.keep,
                "save_student": self.save_student,
                "rows_per_part": self.rows_per_part,
                "max_attempts": max_attempts,
                "max_failed": 1.0,
                "stall_timeout_seconds": 300.0,
                "call_timeout_seconds": call_timeout_seconds,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A trial, decided."""

    seed: int
    job: Small
    faults: tuple[Fault, ...] = ()
    call_timeout_seconds: float | None = None

    @property
    def max_attempts(self) -> int:
        """So many that the faults alone, all on one call, cannot use them up."""
        return min(20, 2 * len(self.faults) + 3)


def make_schedule(seed: int) -> Schedule:
    """A seed's schedule. One in four has poison rows; many have their faults close together."""
    random = Random(seed)
    job = _small_job(seed % 96)
    num_faults = random.randint(1, 3 if job.poison else 8)
    centre, spread = random.random(), random.choice([0.02, 0.1, 2.0])
    kinds = list(Breaks)
    if random.random() < 0.4:
        kinds = random.sample(kinds, 3)  # a few kinds, again and again
    faults = []
    for _ in range(num_faults):
        what = random.choice(kinds)
        if what is Breaks.RAISE_ALWAYS and any(f.what is what for f in faults):
            what = Breaks.LOSE  # two such actors could use up a call's attempts
        at = abs(random.gauss(centre, spread)) if spread < 1 else random.uniform(0, 1.2)
        faults.append(Fault(what, at, random.randrange(1000), random.random()))
    return Schedule(
        seed=seed, job=job, faults=tuple(faults),
        call_timeout_seconds=random.choice([None, None, 30.0]),
    )  # fmt: skip


@cache
def _small_job(number: int) -> Small:
    random = Random(f"job {number}")
    num_rows = random.randint(1, 30)
    rows = range(num_rows)
    poison = []
    if number % 4 == 0:
        # One row that takes actors with it: a pool that loses actor after actor is given up.
        hows = [random.choice([Breaks.RAISE, Breaks.KILL_WORKING, Breaks.HANG]), Breaks.RAISE]
        for how in hows[: random.randint(1, 2)]:
            stages = ACTOR_STAGES if how is not Breaks.RAISE else [*ACTOR_STAGES, *_ENCODING]
            poison.append(Poison(random.choice(rows), random.choice(stages), how))
    return Small(
        num_rows=num_rows,
        rows_per_part=random.choice([3, 7, 10, 16]),
        batches=(random.randint(1, 5), random.randint(1, 8), random.randint(1, 5)),
        sizes=(random.randint(1, 3), random.randint(1, 2), random.randint(1, 3)),
        num_nodes=random.randint(2, 4),
        task_slots=random.randint(1, 3),
        threshold=random.choice([0.0, 0.3, 0.5, 0.5, 0.8, 1.1]),
        strategy=random.choice(["refine", "refine", "regenerate"]),
        through=random.choice(["latents", "pixels"]),
        keep=random.choice(["teacher", "best"]),
        save_student=random.random() < 0.4,
        unusable=frozenset(row for row in rows if random.random() < 0.05),
        poison=tuple(poison),
    )


_ENCODING = (Stage.ENCODE_DRAWN, Stage.ENCODE_REFINED)


# ---- what may be done again


class _Ledger:
    """Counts how often each row went through each stage, and how often faults explain.

    A call that failed explains one more of itself. A thing that was lost explains one more of the
    call that made it, and of the calls that made what that one takes: they were let go.
    """

    def __init__(self) -> None:
        self.made: Counter[tuple[int, Stage, int]] = Counter()
        self.explained: Counter[tuple[int, Stage, int]] = Counter()

    def make(self, part: int, call: Call) -> None:
        self.made.update((part, call.stage, row) for row in call.rows)

    def explain(self, part: int, call: Call) -> None:
        self.explained.update((part, call.stage, row) for row in call.rows)

    def lost(self, part: int, call: Call) -> None:
        self.explain(part, call)
        for source in dict.fromkeys(call.sources):
            self.lost(part, source)

    def problems(self, most: int) -> list[str]:
        """What was done too often: without an explanation, or more than `most` times."""
        found = []
        for key, times in self.made.items():
            part, stage, row = key
            if times > 1 + self.explained[key]:
                found.append(
                    f"part {part} row {row}: {stage} was done {times} times, and faults explain "
                    f"{1 + self.explained[key]}"
                )
            elif times > most:
                found.append(f"part {part} row {row}: {stage} was done {times} times, over {most}")
        return found


# ---- hands that break things


class _RestartError(Exception):
    """The driver is gone."""


class _FaultyHands(SimulatedHands):
    """One life of the driver. What outlives it is in the trial."""

    def __init__(self, trial: _Trial, start: float) -> None:
        super().__init__(Times(), trial.schedule.job.num_nodes, start)
        self.trial = trial
        self.random = Random(f"{trial.schedule.seed} {start}")
        self.ledger = _Ledger()
        self.finished_before = set(trial.output.kept)
        self.over = False
        self.turns = 0
        self._suspects: set[SimulatedActor] = set()
        """Actors that the crew may give up."""
        self._hanging: set[SimulatedActor] = set()
        self._raising: dict[SimulatedActor, float] = {}
        self._late: dict[object, float] = {}
        self._twice: dict[object, float] = {}
        for fault in trial.left:
            self.at(max(0.0, fault.at * trial.seconds - start), lambda f=fault: self._strike(f))  # type: ignore[misc]

    def tell(self, text: str) -> None:
        self.trial.tell(f"{self.now():8.2f} s  {text}")

    # ---- what the crew asks for

    def wait(self, timeout_seconds: float) -> list[Answer]:
        self.turns += 1
        self._interact()
        if self.turns > MAX_TURNS:
            raise BottegaError(f"no end after {MAX_TURNS} turns")
        return super().wait(timeout_seconds)

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        self._interact()
        actor, ticket = super().start_actor(pool)
        self.tell(f"{actor.name} starts on node {actor.node}")
        return actor, ticket

    def ask_actor(self, handle: SimulatedActor, work: Work) -> object:
        self._interact()
        self._count(work, handle.name)
        return super().ask_actor(handle, work)

    def handle_files(self, work: Work) -> object:
        self._interact()
        self._count(work, "files")
        return super().handle_files(work)

    def kill_actor(self, handle: SimulatedActor) -> None:
        if not self.over and not handle.dead:
            self.tell(f"{handle.name} is given up by the crew")
            if handle not in self._suspects:
                self.trial.problem(f"{handle.name} was given up, and nothing was wrong with it")
        super().kill_actor(handle)

    def _count(self, work: Work, who: str) -> None:
        part = work.owner.part.index
        self.tell(f"{who}: {work.call} of part {part}")
        self.ledger.make(part, work.call)
        self.trial.num_calls += 1
        self.trial.check_batch(part, work.call)
        if part in self.finished_before:
            self.trial.problem(f"part {part} was finished, and {work.call} was done for it again")

    def _interact(self) -> None:
        self.trial.interactions += 1
        if self.trial.restarts and self.trial.interactions >= self.trial.restarts[0]:
            self.trial.restarts.pop(0)
            self.tell(Breaks.RESTART)
            raise _RestartError

    # ---- what becomes of it

    def outcome(self, actor: SimulatedActor, work: Work) -> tuple[float, Trouble | None]:
        seconds, _ = super().outcome(actor, work)
        seconds *= self.random.uniform(0.7, 1.3)
        if work.rows_at_once > self.trial.memory.get(actor.pool, inf):
            return 0.1, Trouble(Kind.OUT_OF_MEMORY, "out of memory")
        if actor in self._hanging:
            return inf, None
        if self._raising.get(actor, 0) > 0:
            self._raising[actor] -= 1
            return seconds / 2, Trouble(Kind.RAISED, "a broken actor")
        match how := self._poison(work):
            case Breaks.RAISE:
                self._suspects.add(actor)
                return seconds / 2, Trouble(Kind.RAISED, "poison")
            case Breaks.KILL_WORKING:
                self.at(seconds / 2, lambda: self._kill(actor, "poison"))
                return inf, None
            case Breaks.HANG:
                self._suspects.add(actor)
                self.tell(f"{actor.name} hangs: poison")
                return inf, None
        assert how is None
        return seconds, None

    def files_outcome(self, work: Work) -> Trouble | None:
        if self._poison(work):
            return Trouble(Kind.RAISED, "poison")
        if work.call.stage is Stage.COMMIT and self.trial.failing_commits:
            what = self.trial.failing_commits.pop()
            self.tell(what)
            if what is Breaks.COMMIT_UNTOLD:
                self.commit(work)
            return Trouble(Kind.RAISED, "no space left on device")
        return None

    def _poison(self, work: Work) -> Breaks | None:
        """By what the rows are, and not by where they are."""
        return next(
            (
                poison.how
                for poison in self.trial.schedule.job.poison
                if poison.stage is work.call.stage and poison.row in work.seeds
            ),
            None,
        )

    def went_wrong(self, work: Work) -> None:
        self.ledger.explain(work.owner.part.index, work.call)

    def deliver(self, answer: Answer) -> None:
        if (seconds := self._late.pop(answer.ticket, None)) is not None:
            self.at(seconds, lambda: super(_FaultyHands, self).deliver(answer))
            return
        if (seconds := self._twice.pop(answer.ticket, None)) is not None:
            self.at(seconds, lambda: super(_FaultyHands, self).deliver(answer))
        super().deliver(answer)

    def commit(self, work: Work) -> dict[str, Any]:
        record = super().commit(work)
        self.trial.committed(record, self.committed[record["part"]])
        return record

    # ---- faults

    def _strike(self, fault: Fault) -> None:
        if self.over:
            return
        self.trial.left.remove(fault)
        match fault.what:
            case Breaks.KILL_NODE:
                nodes = sorted(self.nodes - {DRIVER_NODE})
                self.tell(f"node {nodes[fault.pick % len(nodes)]} dies")
                self.kill_node(nodes[fault.pick % len(nodes)])
            case Breaks.LOSE:
                stored = sorted((r for r in self.store if not r.gone), key=lambda r: r.serial)
                if stored:
                    self.lose(stored[fault.pick % len(stored)])
            case Breaks.MEMORY:
                self.trial.memory[POOLS[fault.pick % 3]] = 1 + int(fault.size * 4)
                self.tell(f"memory is short: {self.trial.memory}")
            case Breaks.COMMIT | Breaks.COMMIT_UNTOLD:
                self.trial.failing_commits.append(fault.what)
            case _:
                self._strike_actor(fault)

    def _strike_actor(self, fault: Fault) -> None:
        wanted = {
            Breaks.KILL_LOADING: lambda a: not a.ready,
            Breaks.KILL_IDLE: lambda a: a.ready and not a.calls,
            Breaks.KILL_BUSY: lambda a: len(a.calls) == 2,
        }.get(fault.what, lambda a: bool(a.calls))
        fitting = [actor for actor in self.actors if wanted(actor)]
        if not fitting:
            return
        actor = fitting[fault.pick % len(fitting)]
        current = actor.calls[0] if actor.calls else None
        if "dies" in fault.what:
            self._kill(actor, fault.what)
            return
        self._suspects.add(actor)
        self.tell(f"{actor.name}: {fault.what}")
        match fault.what:
            case Breaks.SLOW:
                actor.slowness = 2 + 200 * fault.size**2
            case Breaks.HANG:
                self._hanging.add(actor)
            case Breaks.RAISE | Breaks.RAISE_ALWAYS:
                self._raising[actor] = 1 if fault.what is Breaks.RAISE else inf
            case _:
                assert current is not None
                assert current.work is not None
                which = self._late if fault.what is Breaks.LATE else self._twice
                which[current.ticket] = 200 * fault.size**2
                if fault.what is Breaks.LATE:
                    self.went_wrong(current.work)

    def _kill(self, actor: SimulatedActor, why: str) -> None:
        if not actor.dead:
            self.tell(f"{actor.name} dies: {why}")
            super().kill_actor(actor)

    def kill_node(self, node: int) -> None:
        self._suspects |= {actor for actor in self.actors if actor.node == node}
        super().kill_node(node)

    def lose(self, ref: SimulatedRef) -> None:
        if not ref.gone:
            self.tell(f"the {ref.output} of {ref.call} of part {ref.part} are lost")
            self.ledger.lost(ref.part, ref.call)
        super().lose(ref)


# ---- trials


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


class _Trial:
    """A schedule being run: what outlives the driver."""

    def __init__(self, schedule: Schedule, quiet: Verdict | None, tell: Callable[[str], None]):
        self.schedule = schedule
        self.tell = tell
        self.output = SimulatedOutput()
        self.seconds = quiet.seconds if quiet else 1.0
        self.left = [fault for fault in schedule.faults if fault.what is not Breaks.RESTART]
        self.restarts = sorted(
            int(fault.at * quiet.interactions)
            for fault in schedule.faults
            if fault.what is Breaks.RESTART and quiet
        )
        self.interactions = self.num_calls = 0
        self.memory: dict[str, int] = {}
        self.failing_commits: list[Breaks] = []
        self.verdict = Verdict()
        self._quiet = quiet

    def problem(self, text: str) -> None:
        self.verdict.problems.append(text)
        self.tell(f"PROBLEM: {text}")

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
        small = self.schedule.job
        spec = small.spec(self.schedule.max_attempts, self.schedule.call_timeout_seconds)
        job = replace(
            simulated_job(spec, small.num_rows, small.through, small.unusable), output=self.output
        )
        again = True
        while again:
            verdict.lives += 1
            hands = _FaultyHands(self, verdict.seconds)
            again = False
            try:
                with Crew(job, hands, dict(zip(POOLS, small.sizes, strict=True)),
                          small.task_slots) as crew:  # fmt: skip
                    try:
                        Runner(job).run(crew, job.rules(small.threshold))
                    finally:
                        hands.over = True
                    hands.drain()
                    for ref in hands.store:
                        self.problem(f"the {ref.output} of {ref.call} of part {ref.part} are held")
            except _RestartError:
                again = True
            except Exception as error:  # noqa: BLE001  a crash is a finding like any other
                self.problem(f"{type(error).__name__}: {error}")
                self.tell(format_exc())
            verdict.seconds = hands.now()
            for problem in hands.ledger.problems(self._most_attempts()):
                self.problem(problem)
        verdict.interactions, verdict.num_calls = self.interactions, self.num_calls
        num_parts = job.prompts.num_parts
        for part in sorted(set(range(num_parts)) - set(self.output.kept)):
            self.problem(f"part {part} was not committed")
        return verdict

    def _most_attempts(self) -> int:
        """For each halving of a batch all the attempts; and what is nobody's fault."""
        halvings = max(self.schedule.job.batches).bit_length() + 1
        return self.schedule.max_attempts * halvings + 5 * len(self.schedule.faults) + 5


def _comparable(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Whether a row failed is part of the content; why it did may depend on the time."""
    return [(*row[:5], row[5] and row[5].split(":")[0], *row[6:]) for row in rows]


@cache
def _quiet(job: Small) -> Verdict:
    """The same job with nothing but its poison."""
    return _run(Schedule(seed=0, job=job), None, lambda _: None)


def run_trial(schedule: Schedule, tell: Callable[[str], None] = lambda _: None) -> Verdict:
    """Run a schedule; `tell` hears its story, line by line."""
    return _run(schedule, _quiet(schedule.job), tell)


def _run(schedule: Schedule, quiet: Verdict | None, tell: Callable[[str], None]) -> Verdict:
    # What is held must be let go of by the code itself, not by the collector of cycles.
    gc.disable()
    try:
        return _Trial(schedule, quiet, tell).run()
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
        schedule = make_schedule(args.seed)
        print(schedule.job, *schedule.faults, sep="\n")
        raise SystemExit(bool(run_trial(schedule, print).problems))
    logging.disable()
    start, bad = process_time(), 0
    for seed in range(args.first, args.first + args.count):
        for problem in (problems := run_trial(make_schedule(seed)).problems)[:1]:
            print(f"seed {seed}: {problem}" + (f" (and {len(problems) - 1} more)"))
            bad += 1
    seconds = process_time() - start
    print(f"{args.count} schedules, {bad} with problems, {args.count / seconds:.0f} a core-second")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
