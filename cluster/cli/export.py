"""`bottega export`: a job, or a dataset, in the form that another tool reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.console import say

app = typer.Typer(
    help="Write a job, or a dataset, in the form that another tool reads.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JobFileArgument = Annotated[Path, typer.Argument(help="A job file (docs/job-file.md).")]
ScheduleOption = Annotated[
    str, typer.Option("--cron", help='When: five fields of cron, as "0 3 * * *".')
]


@app.command()
def cron(job_file: JobFileArgument, schedule: ScheduleOption = "0 3 * * *") -> None:
    """Print a line for `crontab -e` that runs a job, one run at a time."""
    from cluster.exports.command import command_of
    from cluster.exports.cron import crontab_line
    from jobs import load_spec

    load_spec(job_file)
    log = job_file.resolve().with_suffix(".log")
    sys.stdout.write(crontab_line(command_of(job_file), schedule, log) + "\n")


@app.command()
def prometheus(
    folder: Annotated[Path, typer.Argument(help="Where the files go; it is made.")],
) -> None:
    """Write the configuration and alerts for Prometheus, and the dashboard for Grafana."""
    from cluster.exports.monitoring import write_monitoring

    for file in write_monitoring(folder):
        say(str(file))
