"""The RayJob of a CronJob's run: its id, its name and its `--for` follow from the run's date.

Run by the CronJob's pod, before it creates the RayJob:

    python -m cluster.kubernetes.dated FOLDER TARGET

FOLDER: where the ConfigMap is, with job.yaml and rayjob.yaml. TARGET: the RayJob to be created.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from actors.errors import BottegaError
from cluster.console import say_error
from cluster.exports.job_file import read_job_file
from cluster.kubernetes.cron_job import RAY_JOB_FILE
from cluster.kubernetes.ray_job import JOB_FILE, JOB_LABEL
from cluster.kubernetes.to_yaml import to_yaml
from jobs.job_id import job_id

MINUTES = re.compile(r"-(\d{8,9})$")
"""The ending of a Job that a CronJob made: the minutes since 1970 of the time that it is for."""

NEAR = timedelta(days=366)
"""From now to what a CronJob's run is for, at most: a date, as 20261127, is minutes of 2008."""


def date_of(job_name: str, now: datetime, zone: ZoneInfo) -> date:
    """The date that a run is for.

    A pod that Kubernetes starts anew after midnight is for the same date as the first one. A Job
    that a person made of the CronJob has another name, which may end with a date, and is for today.
    """
    moment = now
    if found := MINUTES.search(job_name):
        named = datetime.fromtimestamp(60 * int(found[1]), UTC)
        moment = named if abs(named - now) <= NEAR else now
    return moment.astimezone(zone).date()


def dated(ray_job: dict[str, Any], job: str, run_for: str) -> dict[str, Any]:
    """The RayJob with another id and date. `job`: the id of the job for that date."""
    spec, metadata = ray_job["spec"], ray_job["metadata"]
    words = shlex.split(spec["entrypoint"])
    if "--for" in words:
        place = words.index("--for")
        del words[place : place + 2]
    labels = {**metadata["labels"], JOB_LABEL: job}
    return {
        **ray_job,
        "metadata": {**metadata, "name": job, "labels": labels},
        "spec": {**spec, "jobId": job, "entrypoint": shlex.join([*words, "--for", run_for])},
    }


def main() -> None:
    """See above."""
    folder, target = map(Path, sys.argv[1:])
    zone = ZoneInfo(os.environ.get("TIME_ZONE", "UTC"))
    run_for = date_of(os.environ.get("JOB_NAME", ""), datetime.now(UTC), zone).isoformat()
    try:
        spec = read_job_file(folder / JOB_FILE, run_for)
    except BottegaError as error:
        say_error(error)
        sys.exit(error.exit_code)
    of_any_date = yaml.safe_load((folder / RAY_JOB_FILE).read_text())
    made = dated(of_any_date, job_id(spec, run_for), run_for)
    target.write_text(to_yaml([made]))
    sys.stdout.write(f"{made['metadata']['name']}\n")


if __name__ == "__main__":
    main()
