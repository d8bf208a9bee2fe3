"""A Ray with two pretended GPUs, and jobs that are not alone on it, in a process of its own.

python -m tests.cluster.shared_gpus FOLDER

First somebody has one of the GPUs while `beside` runs; then `one` and `other` start at once. The
jobs' files and logs are in FOLDER. Exits with 1 if a job does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.cluster_utils import Cluster

BOTTEGA = [str(Path(sys.executable).parent / "bottega")]
ROWS = 128
JOBS = ("beside", "one", "other")


class Somebody:
    """An actor with a GPU that does nothing with it."""

    def is_there(self) -> bool:
        return True


def job_file(folder: Path, name: str) -> Path:
    """Stand-ins that load at once; half of the rows are refined. The sizes ask for two GPUs."""
    fast = {"load_seconds": 0.2}
    small = {"batch_size": 8, "width": 8, "height": 8, "steps": 1, "guidance_scale": 1.0}
    job: dict[str, Any] = {
        "input": str(folder / "prompts.txt"),
        "output": str(folder / name),
        "models": {
            "student": {"timed": {"seconds": {8: 0.2}, **fast}, **small},
            "oracle": {"timed": {"seconds": {8: 0.02}, **fast}, "batch_size": 8},
            "teacher": {"timed": {"seconds": {8: 0.8}, **fast}, **small},
        },
        "budget": {"threshold": 0.5},
        "rows_per_part": 32,
        "pools": {pool: {"size": 1} for pool in ("student", "oracle", "teacher")},
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(job))
    return file


def start(folder: Path, name: str, address: str) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("w") as log:
        command = [*BOTTEGA, "run", job_file(folder, name), "-v", "--address", address]
        return subprocess.Popen(command, stdout=log, stderr=log)


def main() -> int:
    """See above."""
    folder = Path(sys.argv[1])
    (folder / "prompts.txt").write_text("".join(f"picture {n}\n" for n in range(ROWS)))
    head = {"num_cpus": 4, "num_gpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(address=cluster.address)
        somebody = ray.remote(Somebody).options(num_gpus=1, num_cpus=0).remote()
        ray.get(somebody.is_there.remote())
        codes = [start(folder, "beside", cluster.address).wait()]
        ray.kill(somebody)
        together = [start(folder, name, cluster.address) for name in ("one", "other")]
        codes += [run.wait() for run in together]
    finally:
        ray.shutdown()
        cluster.shutdown()
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
