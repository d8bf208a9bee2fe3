"""A run of the CronJob, as its pod does it: the RayJob of its date, and the script of kubectl."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from cluster.exports.job_file import read_job_file
from cluster.kubernetes.cron_job import MANIFEST, SCRIPT, cron_job
from cluster.kubernetes.dated import date_of
from cluster.kubernetes.ray_job import Wishes, ray_job
from jobs.job_id import job_id

ZURICH = ZoneInfo("Europe/Zurich")
JOB_FILE = """\
name: faces
input: /data/{date}.csv
output: /data/out/{date}
models: timed
"""


def minutes(moment: datetime) -> int:
    return int(moment.timestamp() // 60)


@pytest.mark.parametrize(
    ("job_name", "date"),
    [
        # At 3 in the morning of a summer's and a winter's day, and around both changes.
        (f"bottega-faces-{minutes(datetime(2026, 7, 1, 1, 0, tzinfo=UTC))}", "2026-07-01"),
        (f"bottega-faces-{minutes(datetime(2026, 3, 29, 1, 0, tzinfo=UTC))}", "2026-03-29"),
        (f"bottega-faces-{minutes(datetime(2026, 10, 25, 2, 0, tzinfo=UTC))}", "2026-10-25"),
        # A quarter past midnight in Zurich is the day before in UTC.
        (f"bottega-faces-{minutes(datetime(2026, 7, 1, 22, 15, tzinfo=UTC))}", "2026-07-02"),
        # A person's, and one whose name looks a little like a time.
        ("again", "2026-11-23"),
        ("bottega-faces-123", "2026-11-23"),
        # One that a person named by a date, and one of a clock that is far off.
        ("faces-20261127", "2026-11-23"),
        ("faces-20991231", "2026-11-23"),
        (f"bottega-faces-{minutes(datetime(2028, 1, 1, tzinfo=UTC))}", "2026-11-23"),
        # A pod that comes late is for its own date all the same.
        (f"bottega-faces-{minutes(datetime(2025, 12, 1, 3, 0, tzinfo=UTC))}", "2025-12-01"),
        ("", "2026-11-23"),
    ],
)
def test_a_run_is_for_the_date_that_it_was_scheduled_for(job_name: str, date: str) -> None:
    now = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
    assert date_of(job_name, now, ZURICH).isoformat() == date


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the ConfigMap puts into the pod."""
    made = ray_job(
        "bottega-x-0000000000-2000-01-01", [], Wishes(image="i"), config="c", run_for="x"
    )
    config, *_ = cron_job(
        "bottega-faces", JOB_FILE, made, Wishes(image="i"), schedule="0 3 * * *", time_zone="UTC"
    )
    for name, content in config["data"].items():
        (tmp_path / name).write_text(content)
    return tmp_path


def test_the_pod_makes_the_ray_job_of_its_date(folder: Path) -> None:
    target = folder / "made.yaml"
    job_name = f"bottega-faces-{minutes(datetime(2026, 11, 23, 3, 0, tzinfo=UTC))}"
    end = subprocess.run(
        [sys.executable, "-m", "cluster.kubernetes.dated", folder, target],
        env={**os.environ, "JOB_NAME": job_name, "TIME_ZONE": "Europe/Zurich"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert end.returncode == 0, end.stderr
    made = yaml.safe_load(target.read_text())
    expected = job_id(read_job_file(folder / "job.yaml", "2026-11-23"), "2026-11-23")
    assert end.stdout == f"{expected}\n"
    assert made["metadata"]["name"] == made["spec"]["jobId"] == expected
    assert made["metadata"]["labels"]["bottega/job"] == expected
    assert made["spec"]["entrypoint"].endswith("--for 2026-11-23")
    assert made["spec"]["entrypoint"].count("--for") == 1


KUBECTL = """\
#!/bin/sh
# Stands for kubectl: notes its words, and answers from files of the test.
echo "$*" >> "$FOLDER/calls"
case "$1 $5" in
  create*) test -e "$FOLDER/exists" && exit 1; touch "$FOLDER/exists" ;;
  *jobDeploymentStatus*) head -n1 "$FOLDER/states"; sed -i 1d "$FOLDER/states" ;;
  *jobStatus*) cat "$FOLDER/result" ;;
esac
"""


@pytest.mark.parametrize(
    ("states", "result", "exists", "code"),
    [
        (["", "Initializing", "Running", "Complete"], "SUCCEEDED", False, 0),
        (["Running", "Complete"], "SUCCEEDED", True, 0),
        (["Complete"], "SUCCEEDED", True, 0),
        (["Running", "Retrying", "Failed"], "FAILED", False, 1),
        (["ValidationFailed"], "", False, 1),
        (["Complete"], "STOPPED", False, 1),
    ],
)
def test_the_script_ends_as_the_ray_job_does(
    states: list[str], result: str, exists: bool, code: int, tmp_path: Path
) -> None:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "states").write_text("\n".join([*states, ""]))
    (tmp_path / "result").write_text(result)
    if exists:
        (tmp_path / "exists").touch()
    environment: dict[str, Any] = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "FOLDER": str(tmp_path), "POLL_SECONDS": "0",
    }  # fmt: skip
    end = subprocess.run(
        ["/bin/sh", "-c", SCRIPT],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert end.returncode == code, end.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == f"create -f {MANIFEST}"
    assert sum("jobDeploymentStatus" in call for call in calls) == len(states)
