"""Two jobs that grow on one Ray: their requests add up; one that ends takes back only its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

DRIVER = """
import json, time
import ray
from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL as CHANNEL
from ray.experimental.internal_kv import _internal_kv_get
from jobs.execution.detached import known_of_cluster
from jobs.execution.node_requester import NAME, JobsRequest
from jobs.scaling.node_requests import NodeRequest

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
         object_store_memory=80_000_000)

def asked(number):
    # A change is a message to an actor, which may still start.
    until = time.monotonic() + 60
    while len(found := json.loads(_internal_kv_get(CHANNEL) or "[]")) != number:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return found

seen = []
one, other = JobsRequest(), JobsRequest()
one.change(NodeRequest([{"GPU": 1.0}], [{}]))
seen.append(asked(1))
other.change(NodeRequest([{"GPU": 2.0}] * 2, [{}] * 2))
seen.append(asked(3))
one.change(NodeRequest([], []))
seen.append(asked(2))
# Its node died with it: the next message makes a new one.
ray.kill(known_of_cluster(NAME))
other._renew_at = 0.0
other.renew()
other.change(NodeRequest([{"GPU": 2.0}], [{}]))
seen.append(asked(1))
other.change(NodeRequest([], []))
seen.append(asked(0))
print(json.dumps(seen))
"""


def test_the_requests_of_two_jobs_are_added_up_on_a_real_ray() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    one, two = {"GPU": 1.0}, {"GPU": 2.0}
    expected = [[one], [one, two, two], [two, two], [two], []]
    assert json.loads(ended.stdout.splitlines()[-1]) == expected, ended.stderr[-2000:]
