"""The cluster's autoscaler is asked for the nodes that the measured fraction needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.cluster.autoscaled import MOST, MOST_OF_A_JOB

ROOT = Path(__file__).parents[2]

APART = (
    *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc", "--mount"),
    *(
        "bash",
        "-c",
        'ip link set lo up; mount -t tmpfs -o size=2g tmpfs /dev/shm; exec "$@"',
        "apart",
    ),
)
"""Namespaces of its own: ports and processes that nobody else sees, and that end with it."""


def test_two_submitted_jobs_get_teachers_when_more_is_rejected_and_give_them_back(
    tmp_path: Path,
) -> None:
    command = [*APART, sys.executable, "-m", "tests.cluster.autoscaled", tmp_path]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["codes"] == {"late": 0, "early": 0}, done.stderr[-4000:]
    late = [entry["sizes"]["teacher"] for entry in found["timelines"]["late"]]
    # How many there are at most depends on how fast this machine is.
    assert late[0] < max(late) <= MOST_OF_A_JOB["teacher"]
    grown = next(e for e in found["timelines"]["late"] if e["sizes"]["teacher"] == max(late))
    assert re.search(r"teachers.* teacher \d -> \d", grown["reason"])
    teachers = [nodes for _, _, nodes in found["nodes"]]
    # The early job's teachers are on their way out when the late one's come.
    assert MOST_OF_A_JOB["teacher"] <= max(teachers) <= MOST["teacher"]
    assert teachers[-1] == 0
