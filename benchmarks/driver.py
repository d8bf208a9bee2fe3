"""How much one driver can feed: `python benchmarks/driver.py`.

Real Ray on this machine and stand-ins that take no time (`models: timed-zero`, batches of 16, 0.3
refined), so that nothing is slow but the driver, Ray and the machine. Each student's batch is one
call that draws, 1.3 that score, 0.3 that refine and 1.3 that encode; parts are written as usual.
Actors have loaded before the clock starts. Two figures stand beside the batches a second: the
driver's own seconds of a core for a batch, since only these count where the actors run elsewhere;
and how many GPUs these batches feed, at the published times of both pairs of models.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from timed_jobs import LoadedDispatcher, write_result

from actors.timed import timing_of
from cluster.session import ray_session
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.ray_executor import RayExecutor
from jobs.execution.resources import Resources
from jobs.execution.run import run_job
from jobs.resolution import Job, resolve
from jobs.scaling.initial_sizes import PoolPlan, PoolPlans
from jobs.spec.job_spec import make_spec

ACTORS = (3, 8, 32, 64, 128)
"""From one of each pool to sixty times as many processes as this machine has cores."""

REJECTED = 0.3
TASK_SLOTS = 4
"""As in `timed_jobs`."""

PAIRS = {"SD-Turbo -> SD 1.5": "timed", "SDXL-Lightning -> SDXL": "timed-sdxl"}


@dataclass(frozen=True, slots=True)
class Fed:
    """The result of one run. `driver_seconds`: of a core, for each student's batch."""

    actors: int
    batches: int
    seconds: float
    driver_seconds: float

    @property
    def batches_per_second(self) -> float:
        """Batches of the student, each with all calls that follow from it."""
        return self.batches / self.seconds


class TimedDispatcher(LoadedDispatcher):
    """Counts the seconds of a core that this process takes once everything has loaded."""

    driver_seconds = 0.0

    def __enter__(self) -> Dispatcher:
        entered = super().__enter__()
        self._spent = process_time()
        return entered

    def __exit__(self, *error: object) -> None:
        self.driver_seconds = process_time() - self._spent
        super().__exit__(*error)


def make_job(folder: Path, rows: int, rows_per_part: int = 1024, **models: Any) -> Job:
    """A job of stand-ins that take no time."""
    prompts = folder / "prompts.txt"
    if not prompts.exists():
        prompts.write_text("".join(f"a picture of the number {row}\n" for row in range(rows)))
    oracle = {"timed": {"rejected": REJECTED}, **models.pop("oracle", {})}
    return resolve(
        make_spec(
            {
                "input": str(prompts),
                "output": str(folder / "out"),
                "models": {"preset": "timed-zero", "oracle": oracle, **models},
                "budget": {"threshold": 0.5},
                "rows_per_part": rows_per_part,
            }
        )
    )


def make_plans(actors: int) -> PoolPlans:
    """Pools of `actors` actors, in proportion to their calls; at least one of each."""
    students = max(1, round(actors / 2.6))
    teachers = max(1, round(0.3 * students))
    sizes = (students, max(1, actors - students - teachers), teachers)
    return PoolPlans(*(PoolPlan(size, 0.0, 0.0, 1, {}, "a benchmark's") for size in sizes))


def make_dispatcher(job: Job, have: Resources, actors: int) -> TimedDispatcher:
    """A dispatcher of `actors` actors, whose sizes stay."""
    plans = make_plans(actors)
    return TimedDispatcher(
        job,
        RayExecutor(job, plans),
        plans.sizes,
        TASK_SLOTS,
        object_store_bytes=have.object_store_bytes,
    )


def measure(have: Resources, actors: int, rows: int) -> Fed:
    """Run one job."""
    with TemporaryDirectory() as folder:
        job = make_job(Path(folder), rows)
        dispatcher = make_dispatcher(job, have, actors)
        run_job(job, lambda _: dispatcher)
    batches = -(-rows // job.spec.models.student.batch_size)
    return Fed(actors, batches, dispatcher.seconds, dispatcher.driver_seconds / batches)


def gpu_seconds_per_batch(preset: str) -> float:
    """Seconds of students and teachers for one batch of the student."""
    fields = {"input": "-", "output": "-", "models": preset}
    spec = make_spec({**fields, "rollback": {"strength": 1.0}})
    student, teacher = spec.models.student, spec.models.teacher
    drawn = timing_of(student).seconds(1, student.batch_size, key=0)
    refined = timing_of(teacher).seconds(1, teacher.batch_size, key=0)
    return drawn + REJECTED * refined * student.batch_size / teacher.batch_size


def main() -> None:
    """Print a line for each number of actors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actors", type=int, nargs="+", default=ACTORS)
    parser.add_argument("--rows", type=int, default=32_768)
    args = parser.parse_args()
    logging.disable()
    needs = {pair: gpu_seconds_per_batch(preset) for pair, preset in PAIRS.items()}
    heads = "  ".join(f"GPUs fed, {pair}" for pair in PAIRS)
    print(f"actors  batches/s  driver ms/batch  {heads}", flush=True)
    runs = []
    with ray_session(None) as have:
        for actors in args.actors:
            fed = measure(have, actors, args.rows)
            rate = fed.batches_per_second
            gpus = {pair: round(rate * need) for pair, need in needs.items()}
            shown = "  ".join(f"{count:{len(pair) + 10}}" for pair, count in gpus.items())
            driver_ms = 1000 * fed.driver_seconds
            print(f"{actors:6}  {rate:9.1f}  {driver_ms:15.2f}  {shown}", flush=True)
            runs.append(
                {
                    "actors": actors,
                    "batches_per_second": round(rate, 1),
                    "driver_ms_per_batch": round(driver_ms, 2),
                    "gpus_fed": gpus,
                }
            )
    found = {pair: round(need, 2) for pair, need in needs.items()}
    write_result("driver", {"rows": args.rows, "gpu_seconds_per_batch": found, "runs": runs})


if __name__ == "__main__":
    main()
