"""Runs job files on a Ray that pretends to have GPUs, in a process of its own.

python -m tests.cluster.pretend GPUS JOB.yaml ...
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import ray

from cluster.cli import _make_crew
from cluster.session import Resources
from cluster.token import own_token
from jobs.job import resolve
from jobs.runner import run_job
from jobs.spec import load_spec

CPUS = 4


def main() -> None:
    gpus, *files = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with own_token():
        ray.init(
            address="local",
            num_cpus=CPUS,
            num_gpus=int(gpus),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
        have = Resources(CPUS, float(gpus), ray.cluster_resources()["object_store_memory"], {})
        for file in files:
            job = resolve(load_spec(Path(file)))
            end = run_job(job, lambda job=job: _make_crew(job, have, lambda: False))  # type: ignore[misc]
            print(f"{file}: {end.done_rows} rows in {end.elapsed_seconds:.1f} s")
        ray.shutdown()


if __name__ == "__main__":
    main()
