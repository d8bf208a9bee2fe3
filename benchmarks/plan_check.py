"""Is `bottega plan` right? `python benchmarks/plan_check.py` plans jobs, runs them, compares.

Stand-in models at a tenth of real time, on a real Ray with pretend GPUs: everything is real but the
computing. A job is planned first, then run; the wall time is from the start of the first actor to
the last record. An actor's process takes its time to start here, on few cores, which no plan can
know: it is measured, and shown apart. The plan is made with it too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from actors.models.profiles import Timing
from jobs.crew import Crew
from jobs.job import Job, planned_refinement, resolve
from jobs.on_ray import RayHands
from jobs.plan import CORES_PER_GPU, Question, ask, make_plan
from jobs.runner import run_job
from jobs.sizes import guess_loads, plan_pools
from jobs.spec import make_spec
from jobs.stage_times import StageTimes, stage_times

SPEED = 10

CASES: dict[str, dict[str, Any]] = {
    "SD-Turbo -> SD1.5, 8 GPUs, 30 % regenerated": {
        "preset": "timed", "gpus": 8, "rows": 16_000,
        "job": {"strategy": "regenerate", "budget": {"refine": 0.3}},
    },
    "SDXL-Lightning -> SDXL, 8 GPUs, 30 % regenerated": {
        "preset": "timed-sdxl", "gpus": 8, "rows": 2_000,
        "job": {"strategy": "regenerate", "budget": {"refine": 0.3}},
    },
    "SD-Turbo -> SD1.5, 16 GPUs, half refined, 10 % noise, 2 % stragglers": {
        "preset": "timed", "gpus": 16, "rows": 24_000,
        "job": {"budget": {"refine": 0.5}},
        "timed": {"noise": 0.1, "straggler_fraction": 0.02, "straggler_factor": 3.0},
    },
    "SD-Turbo -> SD1.5, 8 GPUs, p from 0.05 to 0.75 halfway": {
        "preset": "timed", "gpus": 8, "rows": 10_000,
        "job": {"strategy": "regenerate", "budget": {"threshold": 0.5}},
        "rejected": [[0, 0.05], [5_000, 0.75]],
    },
}  # fmt: skip


def make_job(case: Mapping[str, Any], folder: Path) -> Job:
    """A job with small pictures, so that two cores suffice for the files."""
    rows = range(case["rows"])
    table = pa.table({"prompt": [f"picture {row}" for row in rows], "row": rows})
    pq.write_table(table, folder / "prompts.parquet")
    timed = {"speed": SPEED, **case.get("timed", {})}
    oracle = {**timed, **({"rejected": case["rejected"]} if "rejected" in case else {})}
    small = {"width": 64, "height": 64}
    models = {
        "preset": case["preset"],
        "student": {"timed": timed, **small},
        "oracle": {"timed": oracle},
        "teacher": {"timed": timed, **small},
    }
    fields = {
        "input": str(folder / "prompts.parquet"),
        "output": str(folder / "out"),
        "seed_column": "row",
        "image_format": "jpeg",
        "models": models,
        **case["job"],
    }
    return resolve(make_spec(fields))


@contextmanager
def pretend(gpus: int) -> Iterator[None]:
    """A Ray that believes to have so many GPUs, with the cores that go with them."""
    ray.init(
        address="local", num_gpus=gpus, num_cpus=CORES_PER_GPU * gpus, include_dashboard=False,
        log_to_driver=False,
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


def run(job: Job, gpus: int) -> tuple[float, dict[str, float]]:
    """Run the job; returns its wall time, and how long an actor of each pool took to start."""
    crews: list[Crew] = []

    def make_crew() -> Crew:
        cores = CORES_PER_GPU * gpus
        plans = plan_pools(job.spec.pools, cores, gpus, loads=guess_loads(job))
        hands = RayHands(job, plans)
        slots = cores // 2
        crews.append(Crew(job, hands, plans.sizes, slots, capacity=plans.capacity))
        return crews[0]

    start = monotonic()
    run_job(job, make_crew)
    return monotonic() - start, dict(crews[0].load_seconds)


def as_loaded(times: StageTimes, load_seconds: Mapping[str, float]) -> StageTimes:
    """The times with what loading took here."""

    def loaded(pool: str, timing: Timing) -> Timing:
        seconds = load_seconds.get(pool, timing.loading)
        return replace(timing, load_seconds=seconds * timing.speed)

    return replace(times, **{pool: loaded(pool, timing) for pool, timing in times.pools.items()})


def check(case: Mapping[str, Any]) -> dict[str, float]:
    """Plan and run one case."""
    with TemporaryDirectory() as folder:
        job = make_job(case, Path(folder))
        times = stage_times(job.spec, planned_refinement(job.spec))
        question: Question = ask(job.spec, times, {times.usual_gpu: case["gpus"]})
        planned = make_plan(question).wall_seconds
        with pretend(case["gpus"]):
            real, load_seconds = run(job, case["gpus"])
        here = replace(question, times=as_loaded(times, load_seconds))
        return {
            "planned": planned,
            "planned_with_this_start": make_plan(here).wall_seconds,
            "real": real,
            "start_of_an_actor": max(load_seconds.values()),
        }


def main() -> None:
    """Print planned and real wall time of each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, help="Only this one, from 1.")
    parser.add_argument("--json", type=Path, help="Write the results there too.")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    print("planned  with start-up here     real  real/planned  real/with start-up  case")
    for number, (name, case) in enumerate(CASES.items(), 1):
        if options.case in (None, number):
            found = results[name] = check(case)
            print(
                f"{found['planned']:5.1f} s {found['planned_with_this_start']:18.1f} s "
                f"{found['real']:6.1f} s {found['real'] / found['planned']:13.3f} "
                f"{found['real'] / found['planned_with_this_start']:19.3f}  {name} "
                f"(an actor starts in {found['start_of_an_actor']:.1f} s)",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
