"""Ray's memory monitor on a real Ray: what it kills is dead, and no GPU is full.

The monitor's threshold lies below what the machine uses already, so it kills every worker that
runs; only the driver of a Ray of its own can set it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

DRIVER = """
import json, time
import ray
from ray.exceptions import RayError
from jobs.execution.ray_errors import task_error

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
         object_store_memory=80_000_000)

@ray.remote(max_restarts=0, max_task_retries=0)
class Actor:
    def wait(self):
        time.sleep(60)

@ray.remote(num_cpus=0, max_retries=0)
def file_task():
    time.sleep(60)

def kind(ref, of_actor):
    try:
        return ray.get(ref, timeout=60)
    except RayError as error:
        return task_error(error, [], of_actor).kind.name

actor = Actor.remote()
print(json.dumps([kind(actor.wait.remote(), True), kind(actor.wait.remote(), True),
                  kind(file_task.remote(), False)]))
"""


def test_whom_the_memory_monitor_killed_is_gone_and_its_next_call_says_so_too() -> None:
    monitor = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "50"}
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER],
        env={**os.environ, **monitor},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout.splitlines()[-1]) == ["EVICTED"] * 3
