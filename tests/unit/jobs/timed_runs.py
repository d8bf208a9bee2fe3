"""Whole jobs on the virtual clock, with the times of real models: how near to the bound they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from jobs.capacity import Capacity, Devices
from jobs.cascade import Call, Stage
from jobs.crew import Crew
from jobs.light_hands import LightHands
from jobs.hands import Work
from jobs.open_part import OpenPart
from jobs.runner import Runner
from jobs.simulation import SimulatedActor, SimulatedOutput, Times, simulated_job
from jobs.sizes import POOLS, plan_pools, guess_loads
from jobs.spec import make_spec

PROFILES = {"sd": (0.77, 12.88), "sdxl": (7.1, 79.11)}
"""Seconds of a batch of 16: SD-Turbo and Stable Diffusion 1.5, SDXL-Lightning and SDXL."""

ROWS = 16
ORACLE_SECONDS = 0.02
THRESHOLD = 0.5


class TimedHands(LightHands):
    """`rejected`: of the row with a number, the chance. Checks that no device is given twice."""

    def __init__(
        self, times: Times, capacity: Capacity, rejected: Callable[[int], float], start: float = 0.0
    ) -> None:
        super().__init__(times, num_nodes=1, start=start)
        self.capacity, self.rejected = capacity, rejected
        self.busy = dict.fromkeys((*POOLS, "files"), 0.0)
        self.starts = 0
        self.overcommitted = False

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        actor, ticket = super().start_actor(pool)
        self.starts += 1
        self.log = getattr(self, "log", []); self.log.append((round(self.now()), pool))
        there = [actor.pool for actor in self.actors]
        sizes = {name: there.count(name) for name in POOLS}
        self.overcommitted |= not self.capacity.fits(sizes)
        return actor, ticket

    def outcome(self, actor: SimulatedActor, work: Work) -> Any:
        seconds, trouble = super().outcome(actor, work)
        self.busy[actor.pool] += seconds
        return seconds, trouble

    def scores(self, owner: OpenPart, call: Call) -> Sequence[float]:
        """Below the threshold for the fraction that is rejected around a row."""
        first = owner.part.first_row
        chances = [self.rejected(first + row) for row in call.rows]
        return [
            0.0 if luck < chance else 1.0
            for luck, chance in zip(super().scores(owner, call), chances, strict=True)
        ]


@dataclass
class Run:
    """`bound`: the students' and teachers' seconds spread over all GPUs. `moves`: actors started
    after the beginning."""

    seconds: float
    bound: float
    moves: int
    timeline: list[Any]
    hands: TimedHands

    @property
    def ratio(self) -> float:
        return self.seconds / self.bound


def timed_run(
    gpus: int,
    rejected: float | Callable[[int], float] = 0.3,
    profile: str = "sd",
    num_rows: int = 16384,
    load: float = 20.0,
    sizes: tuple[int, int, int] | None = None,
    store_bytes: float = float("inf"),
    rows_per_part: int = 2048,
    expected: float = 0.3,
) -> Run:
    """Run a job; `sizes` fixes the pools. The clock starts when the first actors have loaded."""
    student, teacher = PROFILES[profile]
    expected = rejected if isinstance(rejected, float) else expected
    chance = rejected if callable(rejected) else (lambda row: rejected)
    pools = {} if sizes is None else {n: {"size": s} for n, s in zip(POOLS, sizes, strict=True)}
    models = {
        "preset": "shapes",
        "student": {"batch_size": ROWS, "steps": 1 if profile == "sd" else 2, "guidance_scale": 0},
        "oracle": {"batch_size": ROWS},
        "teacher": {"batch_size": ROWS, "steps": 50, "guidance_scale": 7.5},
    }
    spec = make_spec(
        {"input": "-", "output": "-", "models": models, "rows_per_part": rows_per_part,
         "pools": pools, "budget": {"refine": expected}, "stall_timeout_seconds": 36000, "strategy": "regenerate"}
    )  # fmt: skip
    job = simulated_job(spec, num_rows, "latents", frozenset())
    object.__setattr__(job.refinement, "steps", 50)
    plans = plan_pools(spec.pools, cpus=4 * gpus, gpus=gpus, loads=guess_loads(job))
    capacity = Capacity((Devices(gpus, frozenset(POOLS)),), {"student": 0.9, "oracle": 0.1, "teacher": 0.9})
    times = Times(
        load=load,
        batch={"student": student, "oracle": ORACLE_SECONDS * ROWS, "teacher": teacher},
        files=0.05,
    )
    hands = TimedHands(times, capacity, chance)
    with Crew(job, hands, plans.sizes, 10 * gpus, store_bytes, capacity=plans.capacity) as crew:
        begun = hands.starts
        while hands.now() < load:
            crew.wait(load - hands.now())
        runner = Runner(job)
        runner.run(crew, job.rules(THRESHOLD))
        seconds = hands.now() - load
    busy = hands.busy["student"] + hands.busy["teacher"]
    assert isinstance(job.output, SimulatedOutput)
    return Run(seconds, busy / gpus, hands.starts - begun, job.output.timeline, hands)
