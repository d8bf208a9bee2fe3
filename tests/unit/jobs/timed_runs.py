"""Whole jobs on a virtual clock, with the published durations of real models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.executor import Task, TaskError
from jobs.execution.observers import Observer
from jobs.execution.runner import Runner
from jobs.scaling.capacity import Capacity, Devices
from jobs.scaling.initial_sizes import POOLS, guess_loads, plan_pools
from jobs.simulation.executor import Durations, SimulatedActor
from jobs.simulation.job import SimulatedOutput, simulated_job
from jobs.simulation.light_executor import LightExecutor
from jobs.spec.job_spec import make_spec

PROFILES = {"sd": (0.77, 12.88), "sdxl": (7.1, 79.11)}
"""Seconds of a batch of 16, student and teacher: SD-Turbo and Stable Diffusion 1.5, SDXL-Lightning
and SDXL, as in actors/models/profiles.csv."""

STEPS = {"sd": 1, "sdxl": 2}
BATCH = 16
ORACLE_SECONDS = 0.02
"""Of one picture, as DiffServe reports of its discriminator."""

THRESHOLD = 0.5
SHARES = {"student": 0.9, "oracle": 0.1, "teacher": 0.9}


class TimedExecutor(LightExecutor):
    """`rejected`: a row's chance, by its number. Checks that the actors fit on the GPUs."""

    def __init__(
        self, times: Durations, capacity: Capacity, rejected: Callable[[int], float]
    ) -> None:
        super().__init__(times, num_nodes=1)
        self.capacity, self.rejected = capacity, rejected
        self.busy = dict.fromkeys((*POOLS, "files"), 0.0)
        self.starts: list[str] = []

    def start_actor(self, pool: str) -> tuple[SimulatedActor, object]:
        started = super().start_actor(pool)
        self.starts.append(pool)
        running = [actor.pool for actor in self.actors]
        assert self.capacity.fits({name: running.count(name) for name in POOLS})
        return started

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        seconds, error = super().outcome(actor, task)
        self.busy[actor.pool] += seconds
        return seconds, error

    def scores(self, owner: ActivePart, call: Call) -> Sequence[float]:
        """Below the threshold with the row's chance."""
        first = owner.part.first_row
        evenly = super().scores(owner, call)
        return [
            0.0 if place < self.rejected(first + row) else 1.0
            for place, row in zip(evenly, call.rows, strict=True)
        ]


@dataclass
class Run:
    """`bound`: the students' and teachers' seconds over the GPUs. `starts`: after the beginning."""

    seconds: float
    bound: float
    starts: list[str]
    timeline: list[Mapping[str, Any]]

    @property
    def ratio(self) -> float:
        return self.seconds / self.bound

    @property
    def sizes(self) -> list[tuple[int, ...]]:
        """Of student, oracle and teacher: one entry for each change."""
        return [tuple(entry["sizes"].values()) for entry in self.timeline]


def timed_run(
    gpus: int = 8,
    rejected: float | Callable[[int], float] = 0.3,
    profile: str = "sd",
    num_rows: int = 16384,
    load: float = 20.0,
    sizes: tuple[int, int, int] | None = None,
    expected: float = 0.3,
    store_bytes: float = inf,
    pools: dict[str, Any] | None = None,
    shares: Mapping[str, float] = SHARES,
    rows_per_part: int = 2048,
    observers: Sequence[Observer] = (),
) -> Run:
    """Run a job; the clock starts when the first actors have loaded. `sizes` fixes the pools.

    expected: the budget's fraction. store_bytes: room in the store; a row's output takes one byte.
    """
    student, teacher = PROFILES[profile]
    if isinstance(rejected, float):
        expected, chance = rejected, lambda row: rejected
    else:
        chance = rejected
    if sizes is not None:
        pools = {name: {"size": size} for name, size in zip(POOLS, sizes, strict=True)}
    models = {
        "preset": "shapes",
        "student": {"batch_size": BATCH, "steps": STEPS[profile], "guidance_scale": 0.0},
        "oracle": {"batch_size": BATCH},
        "teacher": {"batch_size": BATCH, "steps": 50, "guidance_scale": 7.5},
    }
    spec = make_spec(
        {
            **{"input": "-", "output": "-", "models": models, "pools": pools or {}},
            **{"budget": {"refine": expected}, "rows_per_part": rows_per_part},
            **{"strategy": "regenerate", "stall_timeout_seconds": 36_000},
        }
    )
    job = simulated_job(spec, num_rows, "latents", frozenset())
    job = replace(job, refinements=(replace(job.refinement, steps=50),))
    plans = plan_pools(spec.pools, cpus=4 * gpus, gpus=gpus, loads=guess_loads(job))
    durations = Durations(
        load=load,
        batch={"student": student, "oracle": ORACLE_SECONDS * BATCH, "teacher": teacher},
        files=0.05,
    )
    capacity = Capacity((Devices(gpus, frozenset(POOLS)),), shares)
    executor = TimedExecutor(durations, capacity, chance)
    with Dispatcher(
        job,
        executor,
        plans.sizes,
        10 * gpus,
        object_store_bytes=store_bytes,
        capacity=plans.capacity,
    ) as dispatcher:
        dispatcher.observers.add(*observers)
        begun = len(executor.starts)
        while executor.now() < load:
            dispatcher.wait(load - executor.now())
        Runner(job).run(dispatcher, job.rules(THRESHOLD))
        seconds = executor.now() - load
    assert isinstance(job.output, SimulatedOutput)
    return Run(
        seconds=seconds,
        bound=(executor.busy["student"] + executor.busy["teacher"]) / gpus,
        starts=executor.starts[begun:],
        timeline=job.output.timeline,
    )
