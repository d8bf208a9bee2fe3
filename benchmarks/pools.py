"""Which pool sizes are fastest on a machine without GPUs: `python benchmarks/pools.py`.

One job, the embedded models, several sizes side by side on one Ray. Actors load and calibrate
before the clock starts. The bound is the time of the work with every core busy all the time: the
least sum of actor-seconds of these runs, over the cores. The least, because actors that share a
core count each other's time too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cluster.session import ray_session
from jobs.execution.launch import dispatcher_on_ray
from jobs.execution.resources import Resources
from jobs.execution.run import run_job
from jobs.resolution import resolve
from jobs.spec.job_spec import make_spec

PROMPTS = Path(__file__).parent.parent / "examples/prompts.parquet"
SIZES = [
    # student, oracle, teacher, threads of each
    (1, 1, 1, 1),
    (1, 1, 2, 1),
    (2, 1, 2, 1),
    (1, 1, 1, 2),
]


def measure(have: Resources, sizes: tuple[int, int, int, int], out: Path) -> tuple[float, float]:
    """Run the job once; returns its seconds, and its actors' seconds over the cores."""
    students, oracles, teachers, threads = sizes
    pools: dict[str, Any] = {
        name: {"size": size, "threads_per_actor": threads}
        for name, size in (("student", students), ("oracle", oracles), ("teacher", teachers))
    }
    spec = make_spec(
        {
            "input": str(PROMPTS),
            "output": str(out),
            "models": "shapes",
            "budget": {"refine": 0.3},
            "rows_per_part": 64,
            "calibration_rows": 32,
            "pools": pools,
        }
    )
    job = resolve(spec)
    end = run_job(job, lambda _: dispatcher_on_ray(job, have))
    seconds = [record["seconds"] for record in job.output.records().values()]
    work = sum(sum(part.values()) for part in seconds)
    return end.elapsed_seconds, work / have.cpus


def main() -> None:
    """Measure each size, `--repeat` times in turn, and print the best of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=2)
    repeat = parser.parse_args().repeat
    best: dict[tuple[int, int, int, int], tuple[float, float]] = {}
    with ray_session(None) as have, TemporaryDirectory() as folder:
        for turn in range(repeat):
            for sizes in SIZES:
                out = Path(folder) / "-".join(map(str, (*sizes, turn)))
                measured = measure(have, sizes, out)
                best[sizes] = min(measured, best.get(sizes, measured))
    bound = min(work for _, work in best.values())
    print("student oracle teacher threads  seconds  bound  ratio  rows/s")
    for sizes, (seconds, _) in best.items():
        students, oracles, teachers, threads = sizes
        print(
            f"{students:7} {oracles:6} {teachers:7} {threads:7}  {seconds:7.1f} {bound:6.1f} "
            f"{seconds / bound:6.2f} {192 / seconds:7.2f}"
        )


if __name__ == "__main__":
    main()
