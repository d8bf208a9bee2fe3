"""Is `bottega plan` right? `python benchmarks/plan_check.py` plans jobs, runs them, compares.

Stand-in models, some times as fast as real, on a real Ray with pretend GPUs: everything is real
but the computing. A job is planned first, then run. Two spans are compared: the whole, from the
start of the first actor to the last record; and what follows the start, from the first part's
beginning on. How long an actor's process takes to start, on few cores, is in the whole, and no plan
knows it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from jobs.crew import Crew
from jobs.job import Job, planned_refinement, resolve
from jobs.on_ray import RayHands
from jobs.plan import ask, make_plan
from jobs.runner import run_job
from jobs.sizes import guess_loads, plan_pools
from jobs.spec import make_spec
from jobs.stage_times import stage_times

CORES = 4
"""That Ray is told of: it starts as many idle workers at once."""

TASK_SLOTS = 2

CASES: dict[str, dict[str, Any]] = {
    "SD-Turbo -> SD1.5, 8 GPUs, 30 % regenerated": {
        "preset": "timed", "gpus": 8, "rows": 6_000, "speed": 4,
        "job": {"strategy": "regenerate", "budget": {"refine": 0.3}},
    },
    "SDXL-Lightning -> SDXL, 8 GPUs, 30 % regenerated": {
        "preset": "timed-sdxl", "gpus": 8, "rows": 2_400, "speed": 10,
        "job": {"strategy": "regenerate", "budget": {"refine": 0.3}},
    },
    "SD-Turbo -> SD1.5, 16 GPUs, half refined, 10 % noise, 2 % stragglers": {
        "preset": "timed", "gpus": 16, "rows": 9_000, "speed": 3,
        "job": {"budget": {"refine": 0.5}},
        "timed": {"noise": 0.1, "straggler_fraction": 0.02, "straggler_factor": 3.0},
    },
    "SD-Turbo -> SD1.5, 8 GPUs, p from 0.05 to 0.75 halfway": {
        "preset": "timed", "gpus": 8, "rows": 5_000, "speed": 4,
        "job": {"strategy": "regenerate", "budget": {"threshold": 0.5}},
        "rejected": [[0, 0.05], [2_500, 0.75]],
    },
}  # fmt: skip


def make_job(case: Mapping[str, Any], folder: Path) -> Job:
    """A job with small pictures, so that two cores suffice for the files."""
    rows = range(case["rows"])
    table = pa.table({"prompt": [f"picture {row}" for row in rows], "row": rows})
    pq.write_table(table, folder / "prompts.parquet")
    timed = {"speed": case["speed"], **case.get("timed", {})}
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
    """A Ray that believes to have so many GPUs."""
    ray.init(
        address="local", num_gpus=gpus, num_cpus=CORES, include_dashboard=False,
        log_to_driver=False,
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


def run(job: Job, gpus: int) -> tuple[float, float]:
    """Run the job; returns the seconds of the whole, and of what followed the start."""

    def make_crew() -> Crew:
        plans = plan_pools(job.spec.pools, CORES, gpus, loads=guess_loads(job))
        hands = RayHands(job, plans)
        return Crew(job, hands, plans.sizes, TASK_SLOTS, capacity=plans.capacity)

    start = monotonic()
    after_the_start = run_job(job, make_crew).elapsed_seconds
    return monotonic() - start, after_the_start


def check(case: Mapping[str, Any]) -> dict[str, float]:
    """Plan and run one case; seconds."""
    with TemporaryDirectory() as folder:
        job = make_job(case, Path(folder))
        times = stage_times(job.spec, planned_refinement(job.spec))
        plan = make_plan(ask(job.spec, times, {times.usual_gpu: case["gpus"]}))
        with pretend(case["gpus"]):
            real, real_after = run(job, case["gpus"])
    planned_after = plan.wall_seconds - plan.ready_seconds
    return {
        "planned": round(plan.wall_seconds, 2),
        "real": round(real, 2),
        "ratio": round(real / plan.wall_seconds, 4),
        "planned_after_start": round(planned_after, 2),
        "real_after_start": round(real_after, 2),
        "ratio_after_start": round(real_after / planned_after, 4),
    }


def main() -> None:
    """Print planned and real seconds of each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, help="Only this one, from 1.")
    parser.add_argument("--json", type=Path, help="Write the results there too.")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    print("       the whole                after the start")
    print("planned    real   ratio    planned    real   ratio    case")
    for number, (name, case) in enumerate(CASES.items(), 1):
        if options.case in (None, number):
            found = results[name] = check(case)
            print(
                "{planned:7.1f} {real:7.1f} {ratio:7.3f}    {planned_after_start:7.1f} "
                "{real_after_start:7.1f} {ratio_after_start:7.3f}    ".format(**found)
                + name,
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
