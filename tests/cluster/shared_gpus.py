"""A Ray that gets a node with two pretended GPUs, and jobs on it, in a process of its own.

python -m tests.cluster.shared_gpus FOLDER

`early` starts before the node has joined. Then somebody has one of the GPUs while `beside` runs,
and at last `one` and `other` start at once. The jobs' files and logs are in FOLDER. Exits with 1 if
a job does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.cluster_utils import Cluster

BOTTEGA = [str(Path(sys.executable).parent / "bottega")]
ROWS = 128
JOBS = ("early", "beside", "one", "other")


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
        # So that a job which waits in vain ends before the test does.
        "stall_timeout_seconds": 120,
        "place_timeout_seconds": 120,
        "pools": {
            "device": "gpu",
            **{pool: {"size": 1} for pool in ("student", "oracle", "teacher")},
        },
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
    head = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        early = start(folder, "early", cluster.address)
        while "waiting for GPUs" not in (folder / "early.log").read_text():
            if early.poll() is not None:
                return 1
            time.sleep(0.1)
        cluster.add_node(num_cpus=4, num_gpus=2)
        codes = [early.wait()]
        ray.init(address=cluster.address)
        somebody = ray.remote(Somebody).options(num_gpus=1, num_cpus=0).remote()
        ray.get(somebody.is_there.remote())
        codes.append(start(folder, "beside", cluster.address).wait())
        ray.kill(somebody)
        together = [start(folder, name, cluster.address) for name in ("one", "other")]
        codes += [run.wait() for run in together]
    finally:
        ray.shutdown()
        cluster.shutdown()
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
