"""The verbs of the command, in the order in which `bottega --help` lists them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.main

from cluster.cli import cluster, export, models, pools, schedule
from cluster.cli.dataset import sheet, verify
from cluster.cli.environment import name_variables
from cluster.cli.init import init
from cluster.cli.jobs import cancel, list_, logs, status, wait
from cluster.cli.plan import plan
from cluster.cli.publish import publish
from cluster.cli.retention import retention
from cluster.cli.run import calibrate, retry, run
from cluster.cli.submit import submit

app = typer.Typer(
    help="Adaptive image datasets: a student draws, an oracle judges, a teacher improves.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    init,
    run,
    calibrate,
    plan,
    sheet,
    verify,
    publish,
    retention,
    retry,
    submit,
    status,
    list_,
    logs,
    wait,
    cancel,
):
    app.command(verb.__name__.strip("_"))(verb)
app.add_typer(models.app, name="models")
app.add_typer(export.app, name="export")
app.add_typer(cluster.app, name="cluster")
app.add_typer(schedule.app, name="schedule")
app.add_typer(pools.app, name="pools")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bottega {version('bottega')}")
        raise typer.Exit


@app.callback()
def bottega(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Adaptive image datasets: a student draws, an oracle judges, a teacher improves."""


def command() -> Any:
    """The command, with an environment variable for every option."""
    made = typer.main.get_command(app)
    name_variables(made)
    return made
