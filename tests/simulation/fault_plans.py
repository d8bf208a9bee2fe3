"""Seeded fault schedules: which small job, and what breaks when. `faults` runs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from random import Random

from jobs.execution.calls import Stage
from jobs.spec.job_spec import JobSpec, make_spec

POOLS = ("student", "oracle", "teacher")
ACTOR_STAGES = (Stage.DRAW, Stage.SCORE_DRAWN, Stage.REFINE, Stage.SCORE_REFINED)
ENCODING_STAGES = (Stage.ENCODE_DRAWN, Stage.ENCODE_REFINED)


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
    RESIZE = "the pools are resized"


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
class SmallJob:
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
    invalid_rows: frozenset[int]
    poison: tuple[Poison, ...]
    draws: int = 1
    gpus: int | None = None
    """With them the pools are balanced; else their sizes stay."""

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
                "draws": self.draws,
                "save_student": self.save_student,
                "rows_per_part": self.rows_per_part,
                "max_attempts": max_attempts,
                "max_failed": 1.0,
                "stall_timeout_seconds": 300.0,
                "call_timeout_seconds": call_timeout_seconds,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """A trial, decided."""

    seed: int
    job: SmallJob
    faults: tuple[Fault, ...] = ()
    call_timeout_seconds: float | None = None

    @property
    def max_attempts(self) -> int:
        """So many that the faults alone, all on one call, cannot use them up."""
        return min(20, 2 * len(self.faults) + 3)


def make_fault_plan(seed: int) -> FaultPlan:
    """A seed's schedule. One in four has poison rows; many have their faults close together."""
    random = Random(seed)
    job = _small_job(seed % 96)
    num_faults = random.randint(1, 3 if job.poison else 8)
    centre, spread = random.random(), random.choice([0.02, 0.1, 2.0])
    kinds = [what for what in Breaks if what is not Breaks.RESIZE]
    kinds += [Breaks.LOSE, Breaks.LOSE]
    if random.random() < 0.4:
        kinds = random.sample(kinds, 3)  # a few kinds, again and again
    faults: list[Fault] = []
    for _ in range(num_faults):
        what = random.choice(kinds)
        if what is Breaks.RAISE_ALWAYS and any(f.what is what for f in faults):
            what = Breaks.LOSE  # two such actors could use up a call's attempts
        at = abs(random.gauss(centre, spread)) if spread < 1 else random.uniform(0, 1.2)
        faults.append(Fault(what, at, random.randrange(1000), random.random()))
    # By a chance of their own, so that a seed's other faults do not depend on them.
    chance = Random(f"resizes {seed}")
    for _ in range(chance.choice([0, 0, 1, 3])):
        at, pick = abs(chance.gauss(centre, 0.2)), chance.randrange(1000)
        faults.append(Fault(Breaks.RESIZE, at, pick, chance.random()))
    return FaultPlan(
        seed=seed, job=job, faults=tuple(faults),
        call_timeout_seconds=random.choice([None, None, 30.0]),
    )  # fmt: skip


@cache
def _small_job(number: int) -> SmallJob:
    random = Random(f"job {number}")
    num_rows = random.randint(1, 30)
    rows = range(num_rows)
    poison = []
    if number % 4 == 0:
        # One row that takes actors with it: a pool that loses actor after actor is given up.
        hows = [random.choice([Breaks.RAISE, Breaks.KILL_WORKING, Breaks.HANG]), Breaks.RAISE]
        for how in hows[: random.randint(1, 2)]:
            stages = ACTOR_STAGES if how is not Breaks.RAISE else [*ACTOR_STAGES, *ENCODING_STAGES]
            poison.append(Poison(random.choice(rows), random.choice(stages), how))
    batches = (random.randint(1, 5), random.randint(1, 8), random.randint(1, 5))
    sizes = (random.randint(1, 3), random.randint(1, 2), random.randint(1, 3))
    if number % 4 == 1:
        # Many small calls wait for what one large call made, and may miss it when their turn comes.
        batches, sizes = (random.randint(5, 8), random.randint(1, 3), 1), (1, 1, 1)
    small = SmallJob(
        num_rows=num_rows,
        rows_per_part=random.choice([3, 7, 10, 16]),
        batches=batches,
        sizes=sizes,
        num_nodes=random.randint(2, 4),
        task_slots=random.randint(1, 3),
        threshold=random.choice([0.0, 0.3, 0.5, 0.5, 0.8, 1.1]),
        strategy=random.choice(["refine", "refine", "regenerate"]),
        through=random.choice(["latents", "pixels"]),
        keep=random.choice(["teacher", "best"]),
        save_student=random.random() < 0.4,
        invalid_rows=frozenset(row for row in rows if random.random() < 0.05),
        poison=tuple(poison),
    )
    gpus = random.choice([None, sum(small.sizes), sum(small.sizes) + 2])
    return replace(small, gpus=gpus, draws=Random(f"draws {number}").choice([1, 1, 3]))
