"""Seeded fault plans: which small job runs, and what breaks when. `trials` runs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from random import Random
from typing import Any

from actors.refinement import RowOptions
from jobs.execution.stages import Stage
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.ladder import LadderRung, certain_thresholds

POOLS = ("student", "oracle", "teacher")
ACTOR_STAGES = (Stage.DRAW, Stage.SCORE_DRAWN, Stage.REFINE, Stage.SCORE_REFINED)
ENCODING_STAGES = (Stage.ENCODE_DRAWN, Stage.ENCODE_REFINED)


class FaultKind(StrEnum):
    """Kinds of faults. Each value is the text of its log line."""

    KILL_LOADING = "an actor dies while it loads"
    KILL_IDLE = "an actor dies while it has nothing to do"
    KILL_WORKING = "an actor dies with one call"
    KILL_BUSY = "an actor dies with two calls"
    KILL_NODE = "a node dies"
    EVICT = "a memory monitor kills a process"
    LOSE = "a reference is lost"
    SLOW = "an actor becomes slow"
    HANG = "an actor hangs"
    RAISE = "an actor raises once"
    RAISE_ALWAYS = "an actor raises from now on"
    MEMORY = "a pool's devices have less memory from now on"
    LATE = "a completion comes late"
    TWICE = "a completion comes twice"
    COMMIT = "a commit fails before it writes"
    COMMIT_UNREPORTED = "a commit fails after it wrote"
    RESTART = "the driver is restarted"
    RESIZE = "the pools are resized"
    OTHERS = "others want GPUs"
    GPU_LEAVES = "a GPU leaves for good"


@dataclass(frozen=True, slots=True)
class Fault:
    """`at`: when, as a fraction of the run without faults. `pick`: which of the actors, nodes or
    references that it can strike. `size`: how much, in [0, 1)."""

    kind: FaultKind
    at: float
    pick: int
    size: float


@dataclass(frozen=True, slots=True)
class Poison:
    """A row that raises, kills its actor, or hangs it, each time that it reaches `stage`."""

    row: int
    stage: Stage
    how: FaultKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallJob:
    """A small job, on a small cluster. `batches`, `sizes`: of student, oracle and teacher."""

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
    not_finite: frozenset[int] = frozenset()
    """Rows of which the teacher makes numbers that are no picture."""
    ladder: tuple[LadderRung, ...] | None = None
    """In place of strategy, keep and draws; its thresholds are scores."""
    groups: tuple[int, int] = (1, 1)
    """Numbers of different options that rows have, for student and teacher."""
    gpus: int | None = None
    """With GPUs the pools are balanced; without, their sizes stay."""

    def spec(self, max_attempts: int, call_timeout_seconds: float | None) -> JobSpec:
        """The job file."""
        settings = {n: {"batch_size": b} for n, b in zip(POOLS, self.batches, strict=True)}
        pair = {"strategy": self.strategy, "keep": self.keep, "draws": self.draws}
        return make_spec(
            {
                "input": "simulated",
                "output": "simulated",
                "models": {"preset": "shapes", **settings},
                **({"ladder": self.ladder} if self.ladder else pair),
                "save_student": self.save_student,
                "rows_per_part": self.rows_per_part,
                "max_attempts": max_attempts,
                "max_failed": 1.0,
                "stall_timeout_seconds": 300.0,
                "call_timeout_seconds": call_timeout_seconds,
            }
        )

    @property
    def options(self) -> dict[str, list[list[RowOptions]]]:
        """By role, the options that the rows of every part have."""
        return {
            role: [[RowOptions(guidance_scale=2.0 + number) for number in range(count)]]
            for role, count in zip(("student", "teacher"), self.groups, strict=True)
        }

    def thresholds(self) -> tuple[float, ...]:
        """Of each rung after the first."""
        if self.ladder is None:
            return (self.threshold,)
        return certain_thresholds(self.spec(1, None).attempts) or ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """All that a trial does."""

    seed: int
    job: SmallJob
    faults: tuple[Fault, ...] = ()
    call_timeout_seconds: float | None = None

    @property
    def max_attempts(self) -> int:
        """More than the faults could use up if all of them hit one call."""
        return min(20, 2 * len(self.faults) + 3)


def make_fault_plan(seed: int) -> FaultPlan:
    """A seed's plan. One in four has poison rows; many have their faults close together."""
    random = Random(seed)
    job = _small_job(seed % 96)
    num_faults = random.randint(1, 3 if job.poison else 8)
    centre, spread = random.random(), random.choice([0.02, 0.1, 2.0])
    apart = (FaultKind.RESIZE, FaultKind.EVICT, FaultKind.OTHERS, FaultKind.GPU_LEAVES)
    kinds = [kind for kind in FaultKind if kind not in apart]
    kinds += [FaultKind.LOSE, FaultKind.LOSE]
    if random.random() < 0.4:
        kinds = random.sample(kinds, 3)  # a few kinds, again and again
    faults: list[Fault] = []
    for _ in range(num_faults):
        kind = random.choice(kinds)
        if kind is FaultKind.RAISE_ALWAYS and any(f.kind is kind for f in faults):
            kind = FaultKind.LOSE  # two such actors could use up a call's attempts
        at = abs(random.gauss(centre, spread)) if spread < 1 else random.uniform(0, 1.2)
        faults.append(Fault(kind, at, random.randrange(1000), random.random()))
    # From a generator of their own, so that a seed's other faults do not depend on them.
    chance = Random(f"resizes {seed}")
    for _ in range(chance.choice([0, 0, 1, 3])):
        at, pick = abs(chance.gauss(centre, 0.2)), chance.randrange(1000)
        faults.append(Fault(FaultKind.RESIZE, at, pick, chance.random()))
    chance = Random(f"evictions {seed}")
    for _ in range(chance.choice([0, 0, 1, 3])):
        at, pick = abs(chance.gauss(centre, 0.2)), chance.randrange(1000)
        faults.append(Fault(FaultKind.EVICT, at, pick, chance.random()))
    chance = Random(f"places {seed}")
    for _ in range(chance.choice([0, 0, 1, 3])):
        kind = chance.choice([FaultKind.OTHERS, FaultKind.OTHERS, FaultKind.GPU_LEAVES])
        # From the very beginning, when no actor has its place yet, or in the midst.
        at, pick = chance.choice([0.0, abs(chance.gauss(centre, 0.2))]), chance.randrange(1000)
        faults.append(Fault(kind, at, pick, chance.random()))
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
        # Only one row kills actors: the dispatcher gives up a pool that loses actor after actor.
        hows = [
            random.choice([FaultKind.RAISE, FaultKind.KILL_WORKING, FaultKind.HANG]),
            FaultKind.RAISE,
        ]
        for how in hows[: random.randint(1, 2)]:
            stages = (
                ACTOR_STAGES if how is not FaultKind.RAISE else [*ACTOR_STAGES, *ENCODING_STAGES]
            )
            poison.append(Poison(random.choice(rows), random.choice(stages), how))
    batches = (random.randint(1, 5), random.randint(1, 8), random.randint(1, 5))
    sizes = (random.randint(1, 3), random.randint(1, 2), random.randint(1, 3))
    if number % 4 == 1:
        # Many small calls wait for the output of one large call, which may be lost meanwhile.
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
    # From generators of their own, so that a job's other numbers do not depend on them.
    chance = Random(f"not finite {number}")
    often = chance.choice([0, 0, 0.1, 0.5])
    return replace(
        small,
        gpus=gpus,
        draws=Random(f"draws {number}").choice([1, 1, 3]),
        not_finite=frozenset(row for row in rows if chance.random() < often),
        ladder=_ladder(Random(f"ladder {number}")),
        groups=Random(f"groups {number}").choice([(1, 1), (1, 1), (2, 2), (1, 3), (3, 2)]),
    )


def _ladder(random: Random) -> tuple[LadderRung, ...] | None:
    """Of every other job: up to four drawings, and up to two pictures of the teacher's."""
    if random.random() < 0.5:
        return None

    def score() -> dict[str, float]:
        return {"score": random.choice([0.3, 0.5, 0.8])}

    draws = random.randint(1, 3)
    rungs: list[dict[str, Any]] = [{"draw": draws, **({"until": score()} if draws > 1 else {})}]
    if random.random() < 0.3:
        rungs.append({"draw": 1, "until": score()})
    for _ in range(random.randint(0, 2)):
        make = random.choice(["refine", "regenerate"])
        keep = random.choice(["teacher", "best"])
        rungs.append({make: {}, "below": score(), "keep": keep})
    return tuple(map(LadderRung.model_validate, rungs))
