"""Several jobs on one Ray with pretended GPUs, in a process of its own.

python -m tests.cluster.sharing_jobs FOLDER [ROWS]

`alone` has all four GPUs. Then `one` and `two` start together, `late` comes with a higher priority
once `one` is at work, and `two` is killed when `late` is, and started again. The jobs' files and
logs are in FOLDER, and in seconds.json the seconds of each phase, and the fraction of them in which
the GPUs worked. Exits with 1 if a job does.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from ray.cluster_utils import Cluster

from jobs.output.folder import OutputFolder
from tests.cluster.shared_gpus import BOTTEGA

GPUS = 4
ROWS = 256
TOGETHER = ("one", "two", "late")


def job_file(folder: Path, name: str, **fields: Any) -> Path:
    """Stand-ins that load at once; half of the rows are refined."""
    fast = {"load_seconds": 0.2}
    small = {"batch_size": 8, "width": 8, "height": 8, "steps": 1, "guidance_scale": 1.0}
    job: dict[str, Any] = {
        "name": name,
        "input": str(folder / "prompts.txt"),
        "output": str(folder / name),
        "models": {
            "student": {"timed": {"seconds": {8: 0.4}, **fast}, **small},
            "oracle": {"timed": {"seconds": {8: 0.02}, **fast}, "batch_size": 8},
            "teacher": {"timed": {"seconds": {8: 1.6}, **fast}, **small},
        },
        "budget": {"threshold": 0.5},
        "rows_per_part": 32,
        "stall_timeout_seconds": 200,
        "place_timeout_seconds": 200,
        "pools": {"device": "gpu"},
        **fields,
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(job))
    return file


def start(folder: Path, name: str, address: str, **fields: Any) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("a") as log:
        command = [*BOTTEGA, "run", job_file(folder, name, **fields), "--address", address]
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait_for_work(folder: Path, name: str, run: subprocess.Popen[bytes]) -> None:
    """Until a row of it has been judged."""
    while "  judged 0 " in (shown := last_progress(folder / f"{name}.log")) or not shown:
        assert run.poll() is None, f"{name} ended with {run.returncode}"
        time.sleep(0.1)


def last_progress(log: Path) -> str:
    lines = [line for line in log.read_text().splitlines() if re.match(r"\S+ \S+ rows \d", line)]
    return lines[-1] if lines else ""


def work_seconds(folder: Path, names: tuple[str, ...]) -> float:
    """GPU-seconds of the calls of students and teachers."""
    records = [r for name in names for r in OutputFolder(folder / name).records().values()]
    return sum(record["seconds"][pool] for record in records for pool in ("student", "teacher"))


def main() -> int:
    """See above."""
    folder = Path(sys.argv[1])
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    (folder / "prompts.txt").write_text("".join(f"picture {n}\n" for n in range(rows)))
    head = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=16, num_gpus=GPUS)
        began = time.monotonic()
        codes = [start(folder, "alone", cluster.address).wait()]
        alone = time.monotonic() - began
        began = time.monotonic()
        one, two = (start(folder, name, cluster.address) for name in ("one", "two"))
        wait_for_work(folder, "one", one)
        late = start(folder, "late", cluster.address, priority=5)
        wait_for_work(folder, "late", late)
        two.send_signal(signal.SIGKILL)
        two.wait()
        again = start(folder, "two", cluster.address)
        codes += [run.wait() for run in (one, late, again)]
        together = time.monotonic() - began
    finally:
        cluster.shutdown()
    seconds = {
        "alone": alone,
        "together": together,
        "busy_alone": work_seconds(folder, ("alone",)) / GPUS / alone,
        "busy_together": work_seconds(folder, TOGETHER) / GPUS / together,
    }
    (folder / "seconds.json").write_text(json.dumps(seconds))
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
