"""An Airflow DAG that submits a job, waits for its end, and fails as it fails.

One task: submitting the job again attaches to the run that is there. So a try that comes after a
worker was killed waits for the same run, and nothing is paid twice. The id has no number of a try.
"""

from __future__ import annotations

import re
import shlex

from cluster.exports.command import JobCommand
from cluster.exports.schedule import check_schedule, check_time_zone

RETRIES = 3
"""Tries of the task. One that fails goes on with the job from its finished parts."""

TEMPLATE = '''\
"""Bottega: {title}. Written by `bottega export airflow`; for Airflow 3.

The task runs `bottega submit --wait`, and its exit code is the task's. A task that is tried again,
also on another worker, attaches to the run that is there.
"""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

ZONE = {zone!r}

with DAG(
    dag_id={dag!r},
    schedule={schedule!r},
    start_date=pendulum.datetime({year}, 1, 1, tz=ZONE),
    catchup=False,
    max_active_runs=1,
    user_defined_macros={{"zone": ZoneInfo(ZONE)}},
    tags=["bottega"],
) as dag:
    BashOperator(
        task_id="job",
        cwd={folder!r},
        # Airflow fills in the date that the run is for.
        bash_command={line!r},
        append_env=True,
        retries={retries},
        retry_delay=timedelta(minutes=5),
        execution_timeout=timedelta(seconds={timeout}),
    )
'''

DATE = "{{ (dag_run.data_interval_end or dag_run.run_after).astimezone(zone).date() }}"
"""The date of the run's time; of a run that a person made for another date, that one."""


def dag(
    name: str,
    command: JobCommand,
    *,
    schedule: str,
    time_zone: str,
    timeout_seconds: int,
    year: int,
) -> str:
    """The DAG's file. timeout_seconds: of one try; the job goes on, and the next try attaches."""
    check_schedule(schedule)
    check_time_zone(time_zone)
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "job"
    return TEMPLATE.format(
        title=slug,
        dag=f"bottega_{slug}",
        zone=time_zone,
        schedule=schedule,
        year=year,
        folder=str(command.folder),
        # A brace of a path is no template of Airflow's; and without the space at the end it would
        # take a line that ends in `.sh` for the name of a template's file.
        line=f"{_raw(shlex.join(command.words))} --for '{DATE}' ",
        retries=RETRIES,
        timeout=timeout_seconds,
    )


def _raw(text: str) -> str:
    return "{% raw %}" + text + "{% endraw %}" if re.search(r"\{[{%#]", text) else text
