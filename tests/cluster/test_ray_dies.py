"""The raylet on the driver's machine is killed: the job ends soon, and says so."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

BOTTEGA = [str(Path(sys.executable).parent / "bottega")]

SECONDS = 20.0
"""From the kill to the end of the process: half a second until the executor looks, the rest for
`ray.shutdown` on a machine that does much else. Before, calibration did not end within 100 s."""

ATTACHED_SECONDS = 60.0
"""Of a Ray that the job is attached to, the head has to find out first: five health checks of three
seconds each, by Ray's defaults, and then the job's next look at the cluster, ten seconds later."""

HEAD = """
import sys
from ray.cluster_utils import Cluster

head = {"num_cpus": 4, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
print(cluster.address, cluster.head_node.all_processes["raylet"][0].process.pid, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def started(folder: Path, budget: dict[str, float], *options: str) -> subprocess.Popen[bytes]:
    """A job of small parts, which is long enough to be struck in the midst; its log is in `log`."""
    (folder / "prompts.txt").write_text("".join(f"picture {n}\n" for n in range(4000)))
    fast = {"load_seconds": 0.1}
    small = {"batch_size": 4, "width": 64, "height": 64, "steps": 1, "guidance_scale": 1.0}
    job = {
        "input": str(folder / "prompts.txt"),
        "output": str(folder / "out"),
        "models": {
            "student": {"timed": {"seconds": {4: 0.1}, **fast}, **small},
            "oracle": {"timed": {"seconds": {4: 0.01}, **fast}, "batch_size": 4},
            "teacher": {"timed": {"seconds": {4: 0.2}, **fast}, **small},
        },
        "budget": budget,
        "rows_per_part": 4,
        "calibration_rows": 4000,
    }
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job))
    with (folder / "log").open("w") as log:
        command = [*BOTTEGA, "run", str(file), "-v", *options]
        return subprocess.Popen(command, stdout=log, stderr=log)


def killed(process: subprocess.Popen[bytes], begun: str, log: Path, raylet: int | None) -> float:
    """Kill the raylet once the log has `begun`; returns the seconds until the command ends."""
    while not re.search(begun, log.read_text()):
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    below = psutil.Process(process.pid).children(recursive=True)
    os.kill(raylet or next(p.pid for p in below if p.name() == "raylet"), signal.SIGKILL)
    since = time.monotonic()
    assert process.wait(timeout=120) == 1, log.read_text()
    shown = " ".join(log.read_text().split())
    assert "the Ray on this machine died: its raylet ended. Finished parts are safe. Run" in shown
    assert "cannot be written" not in shown
    assert "Traceback" not in shown
    return time.monotonic() - since


@pytest.mark.parametrize(
    ("begun", "budget"),
    [(r"part 1 is done", {"threshold": 0.5}), (r"oracle: an actor is ready", {"refine": 0.3})],
    ids=["writing", "calibrating"],
)
def test_a_killed_raylet_ends_the_job_at_once_and_is_named(
    begun: str, budget: dict[str, float], tmp_path: Path
) -> None:
    took = killed(started(tmp_path, budget), begun, tmp_path / "log", None)
    assert took < SECONDS


def test_a_killed_raylet_of_a_cluster_ends_the_job_too(tmp_path: Path) -> None:
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert head.stdout is not None
    address, raylet = head.stdout.readline().split()
    process = started(tmp_path, {"threshold": 0.5}, "--address", address)
    took = killed(process, r"part 1 is done", tmp_path / "log", int(raylet))
    head.communicate()
    assert took < ATTACHED_SECONDS
