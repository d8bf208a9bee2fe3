"""Shared by the benchmarks with stand-in models: jobs, a Ray with pretend GPUs, and the bound.

A `Case` is a job with timed models on a number of GPUs. It runs on Ray (`on_ray`) or on the virtual
clock (`on_virtual_clock`), with the pools balanced or fixed. The clock starts when the first actors
have loaded, and stops when the last part is committed; loading is reported apart.

No scheduler can beat the bound: the seconds of the calls by the profile, spread over all GPUs
without a gap. A student or a teacher fills a GPU, and the oracle shares it with a tenth. So the
bound counts the seconds of students and teachers, and not the oracle's.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from resource import getpagesize
from time import sleep
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray import cloudpickle

from actors.models.profiles import Timing
from actors.timed import score_of, timing_of
from cluster.session import ray_session
from jobs.execution.active_part import ActivePart
from jobs.execution.calls import Call
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.executor import Task
from jobs.execution.ray_executor import RayExecutor
from jobs.execution.resources import Resources
from jobs.execution.run import run_job
from jobs.execution.runner import Runner
from jobs.execution.stages import STAGES, Stage
from jobs.resolution import Job, resolve
from jobs.scaling.initial_sizes import POOLS, PoolPlans, guess_loads, plan_pools
from jobs.simulation.executor import Durations
from jobs.simulation.job import SimulatedOutput, SimulatedPrompts
from jobs.simulation.light_executor import LightExecutor
from jobs.spec.job_spec import make_spec

# Workers do not have the folder of a benchmark on their path: what runs there travels whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

RESULTS = Path(__file__).parent / "results"

LOAD_BEFORE = os.getloadavg()[0]
"""Of this machine, before the benchmark adds to it: a busy machine makes figures worse."""

CORES = 8
"""Ray's `num_cpus`. Chosen: enough for the actors and tasks, and few processes to start."""

TASK_SLOTS = 4
"""File tasks at once. Chosen: twice the two cores of the machine that measured."""

FILE_SECONDS = 0.05
"""Of a file task on the virtual clock. Chosen: about what small pictures take."""

Schedule = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job with timed models. `rejected`: a fraction, or (first row, fraction) pairs.

    `load_batches`: an actor's loading time, in batches of the student. `speed`: how many times as
    fast as the profile, loading included. `side`: of the pictures in pixels; small, so that two
    cores can encode for sixteen GPUs. `row_seconds`: of student, oracle and teacher in batches of
    `batch`, instead of the profile's.
    """

    name: str
    models: str
    gpus: int
    rows: int
    rejected: float | Schedule = 0.3
    load_batches: float = 30.0
    speed: float = 10.0
    rows_per_part: int = 2048
    side: int = 64
    row_seconds: tuple[float, float, float] | None = None
    batch: int = 16

    def job(self, folder: Path, sizes: Sequence[int] | None = None) -> Job:
        """The job, with its input written; `sizes` of student, oracle and teacher fix the pools."""
        prompts = folder / "prompts.parquet"
        if not prompts.exists():
            rows = range(self.rows)
            texts = [f"a picture of the number {row}" for row in rows]
            pq.write_table(pa.table({"row": list(rows), "prompt": texts}), prompts)
        return resolve(make_spec(self._fields(prompts, folder / "out", sizes)))

    def _fields(self, prompts: Path, out: Path, sizes: Sequence[int] | None) -> dict[str, Any]:
        timed: dict[str, Any] = {"speed": self.speed}
        pictures = {"width": self.side, "height": self.side}
        pools: dict[str, Any] = {}
        if sizes is not None:
            names = ("student", "oracle", "teacher")
            pools = {name: {"size": size} for name, size in zip(names, sizes, strict=True)}
        loads = {"load_seconds": self.load_seconds}
        models: dict[str, Any] = {
            "student": {**pictures, "timed": {**timed, **loads}},
            "oracle": {"timed": {**timed, "load_seconds": 0.0, "rejected": self.rejected}},
            "teacher": {**pictures, "timed": {**timed, **loads}},
        }
        if self.row_seconds is not None:
            for model, seconds in zip(models.values(), self.row_seconds, strict=True):
                model["batch_size"] = self.batch
                model["timed"] |= {"seconds": {self.batch: self.batch * seconds}}
            for name, seconds in zip(("student", "teacher"), self.row_seconds[::2], strict=True):
                models[name]["timed"]["profile"] = None
                # As many steps as the seconds say, with six evaluations beside them.
                steps = max(1, round(7 * seconds / self.row_seconds[0] - 6))
                models[name] |= {"steps": steps, "guidance_scale": 0.0}
        return {
            "name": self.name,
            "input": str(prompts),
            "seed_column": "row",
            "output": str(out),
            "models": {"preset": self.models, **models},
            "budget": {"threshold": 0.5},
            # All the steps that the profile timed, from the student's latents.
            "rollback": {"strength": 1.0},
            "rows_per_part": self.rows_per_part,
            "pools": pools,
        }

    @property
    def load_seconds(self) -> float:
        """Of a student or a teacher, before `speed`."""
        if self.row_seconds is not None:
            return self.load_batches * self.batch * self.row_seconds[0]
        fields = {"input": "-", "output": "-", "models": self.models}
        student = make_spec(fields).models.student
        return self.load_batches * timing_of(student).seconds(1, student.batch_size, key=0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one run, in seconds.

    `calls`: number of calls by (stage, rows). `gpu_seconds`: by pool, of the calls by the profile.
    `timeline`: the sizes, with reasons.
    """

    seconds: float
    loading_seconds: float
    bound_seconds: float
    gpu_seconds: dict[str, float]
    calls: Mapping[tuple[Stage, int], int]
    teacher_batch: int
    timeline: Sequence[Mapping[str, Any]]

    @property
    def ratio(self) -> float:
        """Over the bound."""
        return self.seconds / self.bound_seconds

    @property
    def padded(self) -> float:
        """The fraction of the teacher's batch places without a row."""
        calls = {rows: n for (stage, rows), n in self.calls.items() if stage is Stage.REFINE}
        places = self.teacher_batch * sum(calls.values())
        return 1 - sum(rows * n for rows, n in calls.items()) / places if places else 0.0

    @property
    def half_empty(self) -> float:
        """The fraction of the teacher's calls with a batch under half full."""
        calls = {rows: n for (stage, rows), n in self.calls.items() if stage is Stage.REFINE}
        few = sum(n for rows, n in calls.items() if 2 * rows < self.teacher_batch)
        return few / sum(calls.values()) if calls else 0.0

    def as_json(self) -> dict[str, Any]:
        """For the results file."""
        return {
            "seconds": round(self.seconds, 2),
            "bound_seconds": round(self.bound_seconds, 2),
            "ratio": round(self.ratio, 4),
            "loading_seconds": round(self.loading_seconds, 2),
            "gpu_seconds": {name: round(s, 1) for name, s in self.gpu_seconds.items()},
            "teacher_padding": round(self.padded, 4),
            "teacher_calls_under_half": round(self.half_empty, 4),
            "changes_of_size": max(0, len(self.timeline) - 1),
            "timeline": list(self.timeline),
        }


class CountedCalls:
    """Counts the calls to actors. A mixin: it goes before an executor's class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls: Counter[tuple[Stage, int]] = Counter()

    def submit_actor_task(self, handle: Any, task: Task) -> Any:
        """Count a call and pass it on."""
        self.calls[task.call.stage, len(task.call.rows)] += 1
        return super().submit_actor_task(handle, task)  # type: ignore[misc]


class VirtualExecutor(CountedCalls, LightExecutor):
    """The virtual clock, with the scores of the stand-in oracle."""

    def __init__(self, job: Job) -> None:
        timings = timings_of(job)
        batches = {
            name: timing.seconds(1, getattr(job.spec.models, name).batch_size, key=0)
            for name, timing in timings.items()
        }
        durations = Durations(load=timings["teacher"].loading, batch=batches, files=FILE_SECONDS)
        super().__init__(durations, num_nodes=1)
        self._oracle = job.spec.models.oracle

    def scores(self, owner: ActivePart, call: Call) -> Sequence[float]:
        """By the rows' seeds."""
        return [score_of(self._oracle, owner.part.seeds[row], refined=False) for row in call.rows]


class CountedOnRay(CountedCalls, RayExecutor):
    """Ray, with counted calls."""


class LoadedDispatcher(Dispatcher):
    """A dispatcher whose actors have loaded on entry; it measures the loading and the run."""

    loading_seconds = 0.0
    seconds = 0.0

    def __enter__(self) -> Dispatcher:
        begin = self.executor.now()
        super().__enter__()
        while any(pool.num_ready < pool.size for pool in self.pools.values()):
            self.wait(timeout_seconds=0.1)
        self._loaded_at = self.executor.now()
        self.loading_seconds = self._loaded_at - begin
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = self.executor.now() - self._loaded_at
        super().__exit__(*error)


class WarmDispatcher(LoadedDispatcher):
    """On Ray: the processes for file tasks have started on entry, too."""

    def __enter__(self) -> Dispatcher:
        begin = self.executor.now()
        super().__enter__()
        start: Any = ray.remote(_start_for_files).options(num_cpus=0)
        ray.get([start.remote() for _ in range(2 * TASK_SLOTS)])
        self._loaded_at = self.executor.now()
        self.loading_seconds = self._loaded_at - begin
        return self


def _start_for_files() -> None:
    """Import what file tasks import, and stay busy, so that the next one gets another process."""
    import jobs.output.writer  # noqa: F401

    sleep(0.5)


def timings_of(job: Job) -> dict[str, Timing]:
    """The stand-ins' timings by pool."""
    models = job.spec.models
    return {
        "student": timing_of(models.student),
        "oracle": timing_of(models.oracle),
        "teacher": timing_of(models.teacher, job.refinement.steps),
    }


def gpu_seconds(job: Job, calls: Mapping[tuple[Stage, int], int]) -> dict[str, float]:
    """Seconds of the calls by the profile, by pool; a short batch takes as long as a full one."""
    seconds = dict.fromkeys(POOLS, 0.0)
    timings = timings_of(job)
    for (stage, rows), n in calls.items():
        pool = STAGES[stage].pool
        batch = getattr(job.spec.models, pool).batch_size
        seconds[pool] += n * timings[pool].seconds(rows, batch, key=0)
    return seconds


def on_ray(job: Job, have: Resources) -> Outcome:
    """Run a job on Ray."""
    plans = _plans(job, have.gpus)
    executor = CountedOnRay(job, plans)
    dispatcher = WarmDispatcher(
        job,
        executor,
        plans.sizes,
        TASK_SLOTS,
        object_store_bytes=have.object_store_bytes,
        capacity=plans.capacity,
    )
    run_job(job, lambda _: dispatcher)
    lines = (job.output.path / "timeline.jsonl").read_text().splitlines()
    return _outcome(job, dispatcher, executor, have.gpus, [json.loads(line) for line in lines])


def on_virtual_clock(job: Job, gpus: int) -> Outcome:
    """Run the same job on the virtual clock, where only calls and file tasks take time."""
    output = SimulatedOutput()
    prompts = SimulatedPrompts(job.spec, job.prompts.num_rows, frozenset())
    job = replace(job, prompts=prompts, output=output)
    plans, executor = _plans(job, gpus), VirtualExecutor(job)
    with LoadedDispatcher(
        job, executor, plans.sizes, TASK_SLOTS, capacity=plans.capacity
    ) as dispatcher:
        assert job.spec.budget.threshold is not None
        Runner(job).run(dispatcher, job.rules(job.spec.budget.threshold))
    return _outcome(job, dispatcher, executor, gpus, output.timeline)


def _plans(job: Job, gpus: float) -> PoolPlans:
    return plan_pools(job.spec.pools, CORES, gpus, loads=guess_loads(job))


def _outcome(
    job: Job,
    dispatcher: LoadedDispatcher,
    executor: CountedCalls,
    gpus: float,
    timeline: Sequence[Mapping[str, Any]],
) -> Outcome:
    seconds = gpu_seconds(job, executor.calls)
    return Outcome(
        seconds=dispatcher.seconds,
        loading_seconds=dispatcher.loading_seconds,
        bound_seconds=(seconds["student"] + seconds["teacher"]) / gpus,
        gpu_seconds=seconds,
        calls=executor.calls,
        teacher_batch=job.spec.models.teacher.batch_size,
        timeline=timeline,
    )


@contextmanager
def pretend_gpus(gpus: int, object_store_bytes: int | None = None) -> Iterator[Resources]:
    """A Ray on this machine that counts on `gpus` GPUs."""
    pretend: dict[str, Any] = {"num_cpus": CORES, "num_gpus": gpus}
    if object_store_bytes is not None:
        pretend["object_store_memory"] = object_store_bytes
    with ray_session(None, **pretend) as have:
        yield have


def memory_bytes() -> int:
    """The resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


def write_result(name: str, found: Mapping[str, Any]) -> None:
    """Write results/NAME.json, with the command, the machine and the time."""
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": " ".join(["python", Path(sys.argv[0]).name, *sys.argv[1:]]),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_before": round(LOAD_BEFORE, 2),
        "python": platform.python_version(),
    }
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps({**about, **found}, indent=1) + "\n")
    print(f"-> {file}", flush=True)
