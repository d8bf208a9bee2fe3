"""Runs job files on a Ray that pretends to have GPUs, in a process of its own.

python -m tests.cluster.pretend GPUS JOB.yaml ...
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from cluster.session import ray_session
from jobs.execution.launch import dispatcher_on_ray
from jobs.execution.resources import Resources
from jobs.execution.run import run_job
from jobs.resolution import resolve
from jobs.spec.job_spec import load_spec


def run(file: str, have: Resources) -> None:
    job = resolve(load_spec(Path(file)))
    end = run_job(job, lambda _: dispatcher_on_ray(job, have))
    print(f"{file}: {end.done_rows} rows in {end.elapsed_seconds:.1f} s")


def main() -> None:
    gpus, *files = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with ray_session(None, num_cpus=4, num_gpus=int(gpus)) as have:
        for file in files:
            run(file, have)


if __name__ == "__main__":
    main()
