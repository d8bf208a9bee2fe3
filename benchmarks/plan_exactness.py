"""How exact is a plan of a part of a job? `python benchmarks/plan_exactness.py` compares.

A plan of a large job simulates some of its rows, and for a large cluster a small one. Here jobs
are simulated whole, on the cluster as it is, and compared with their plan (`bottega plan`'s own)
and their quick plan (a line of its table of budgets): the difference of the wall times in percent.
The unit test of the plan has a small corner of this grid.
"""

from __future__ import annotations

import argparse
from itertools import product
from time import process_time

from timed_jobs import write_result

from jobs.planning.plan import Question, make_plan, whole_plan
from jobs.planning.stage_times import stage_times
from jobs.refinement import planned_refinement
from jobs.spec.job_spec import make_spec

MODELS = ("timed", "timed-sdxl")
GPUS = (16, 100, 256, 1000)
ROWS_PER_GPU = (50, 200, 800)
REFINE = (0.0, 0.05, 0.3, 0.8)


def question(models: str, gpus: int, rows: int, refine: float) -> Question:
    """A job with stand-ins, `rows` of them for each GPU."""
    spec = make_spec({"input": "-", "output": "-", "models": models, "budget": {"refine": refine}})
    times = stage_times(spec, planned_refinement(spec))
    return Question(spec=spec, times=times, gpus={times.usual_gpu: gpus}, num_rows=rows * gpus)


def main() -> None:
    """Print a line for each job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most-rows", type=int, default=300_000, help="of a job in the grid")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--gpus", nargs="*", type=int, default=GPUS)
    parser.add_argument("--rows-per-gpu", nargs="*", type=int, default=ROWS_PER_GPU)
    args = parser.parse_args()
    print("models       GPUs     rows  refine   whole   (s)    plan   (s)   quick   (s)")
    cases = []
    for models, gpus, rows, refine in product(args.models, args.gpus, args.rows_per_gpu, REFINE):
        if rows * gpus > args.most_rows:
            continue
        asked = question(models, gpus, rows, refine)
        start = process_time()
        whole = whole_plan(asked)
        took = [process_time() - start]
        off = []
        for quick in (False, True):
            start = process_time()
            plan = make_plan(asked, quick=quick)
            took.append(process_time() - start)
            off.append(100 * (plan.wall_seconds / whole.wall_seconds - 1))
        cases.append(off)
        print(
            f"{models:10} {gpus:6} {rows * gpus:8,} {refine:7.2f} {whole.wall_seconds:7.1f} "
            f"{took[0]:5.1f} {off[0]:+6.2f}% {took[1]:5.1f} {off[1]:+6.2f}% {took[2]:5.1f}",
            flush=True,
        )
    worst = [max(abs(off[which]) for off in cases) for which in (0, 1)]
    print(
        f"{len(cases)} jobs: a plan is {worst[0]:.2f} % off at most, a quick one {worst[1]:.2f} %"
    )
    write_result(
        "plan_exactness",
        {"jobs": len(cases), "worst_percent": worst[0], "worst_percent_quick": worst[1]},
    )


if __name__ == "__main__":
    main()
