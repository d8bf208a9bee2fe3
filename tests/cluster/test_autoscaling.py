"""The cluster's autoscaler is asked for the nodes that the measured fraction needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cluster.autoscaled import MOST

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


def test_teacher_nodes_come_when_more_is_rejected_and_are_gone_after_the_job(
    tmp_path: Path,
) -> None:
    command = [*APART, sys.executable, "-m", "tests.cluster.autoscaled", tmp_path]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((tmp_path / "found.json").read_text())
    wanted = [entry["sizes"]["teacher"] for entry in found["timeline"]]
    assert wanted[0] <= 2 < max(wanted) <= MOST["teacher"]
    grown = next(e for e in found["timeline"] if e["sizes"]["teacher"] == max(wanted))
    assert "teachers busy" in grown["reason"]
    teachers = [nodes for _, _, nodes in found["nodes"]]
    assert max(teachers) == max(wanted)
    assert teachers[-1] == 0
