"""Is `bottega plan` right? `python benchmarks/plan_check.py` plans jobs, runs them, compares.

Stand-in models, some times as fast as real, on a real Ray with pretend GPUs: everything is real
but the computing. A job is planned and run, and the times from the first part's beginning to the
last record are compared. No plan knows how long an actor's process takes to start on few cores, and
that decides when moving a GPU pays. So the job is planned once more with the measured loading, and
that plan counts. `calls x`: by which factor the calls of students and teachers took longer than
their stand-ins ask for, as they do on a busy machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from timed_jobs import CORES, pretend_gpus, write_result

from actors.models.profiles import Timing
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.launch import dispatcher_on_ray
from jobs.execution.resources import Resources
from jobs.execution.run import run_job
from jobs.planning.plan import ask, make_plan
from jobs.planning.stage_times import StageTimes, stage_times
from jobs.refinement import planned_refinement
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec

CASES: dict[str, dict[str, Any]] = {
    "SD-Turbo -> SD1.5, 8 GPUs, 30 % regenerated": {
        "preset": "timed", "gpus": 8, "rows": 6_000, "speed": 4,
        "job": {"strategy": "regenerate", "budget": {"refine": 0.3}},
    },
    "SDXL-Lightning -> SDXL, 8 GPUs, 30 % regenerated": {
        "preset": "timed-sdxl", "gpus": 8, "rows": 6_000, "speed": 20,
        "job": {"strategy": "regenerate", "budget": {"refine": 0.3}},
    },
    "SD-Turbo -> SD1.5, 16 GPUs, half refined, 10 % noise, 2 % stragglers": {
        "preset": "timed", "gpus": 16, "rows": 16_000, "speed": 3,
        "job": {"budget": {"refine": 0.5}},
        "timed": {"noise": 0.1, "straggler_fraction": 0.02, "straggler_factor": 3.0},
    },
    "SD-Turbo -> SD1.5, 8 GPUs, p from 0.05 to 0.75 halfway": {
        "preset": "timed", "gpus": 8, "rows": 8_000, "speed": 4,
        "job": {"strategy": "regenerate", "budget": {"threshold": 0.5}},
        "rejected": [[0, 0.05], [4_000, 0.75]],
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


def run(job: Job, gpus: int) -> tuple[float, dict[str, float]]:
    """Run the job; returns its seconds after the start, and the actors' loading seconds by pool."""
    dispatchers: list[Dispatcher] = []

    def make_dispatcher(_: Job) -> Dispatcher:
        dispatchers.append(dispatcher_on_ray(job, Resources(CORES, gpus)))
        return dispatchers[0]

    return run_job(job, make_dispatcher).elapsed_seconds, dict(dispatchers[0].load_seconds)


def as_loaded(times: StageTimes, load_seconds: Mapping[str, float]) -> StageTimes:
    """The times with the measured loading."""

    def loaded(pool: str, timing: Timing) -> Timing:
        seconds = load_seconds.get(pool, max(load_seconds.values()))
        return replace(timing, load_seconds=seconds * timing.speed)

    return replace(times, **{pool: loaded(pool, timing) for pool, timing in times.pools.items()})


def check(case: Mapping[str, Any]) -> dict[str, float]:
    """Plan and run one case; returns seconds and ratios."""
    with TemporaryDirectory() as folder:
        job = make_job(case, Path(folder))
        times = stage_times(job.spec, planned_refinement(job.spec))
        question = ask(job.spec, times, {times.usual_gpu: case["gpus"]})
        with pretend_gpus(case["gpus"]):
            real, load_seconds = run(job, case["gpus"])
        here = replace(question, times=as_loaded(times, load_seconds))
        before, after = make_plan(question), make_plan(here)
        called = sum(
            record["seconds"].get(pool, 0.0)
            for record in job.output.records().values()
            for pool in ("student", "teacher")
        )
    planned = after.wall_seconds - after.ready_seconds
    return {
        "planned_before": round(before.wall_seconds - before.ready_seconds, 2),
        "planned": round(planned, 2),
        "real": round(real, 2),
        "ratio": round(real / planned, 4),
        "load_seconds": round(max(load_seconds.values()), 2),
        # A busy machine lets a call take longer than its stand-in asks for.
        "calls": round(called / (3600 * after.at_work_hours), 4),
    }


def main() -> None:
    """Print planned and real seconds of each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, help="Only this one, from 1.")
    chosen = parser.parse_args().case
    results: dict[str, dict[str, float]] = {}
    print("planned  with loading as here     real  ratio  loading  calls x  case")
    for number, (name, case) in enumerate(CASES.items(), 1):
        if chosen in (None, number):
            found = results[name] = check(case)
            print(
                "{planned_before:5.1f} s {planned:18.1f} s {real:6.1f} s {ratio:6.3f} "
                "{load_seconds:6.1f} s {calls:8.3f}  ".format(**found)
                + name,
                flush=True,
            )
    if chosen is None:
        write_result("plan_check", {"cases": results})


if __name__ == "__main__":
    main()
