"""The verbs of the command, in the order in which `bottega --help` lists them."""

from __future__ import annotations

import typer

from cluster.cli import export, models
from cluster.cli.dataset import sheet, verify
from cluster.cli.plan import plan
from cluster.cli.run import calibrate, retry, run

app = typer.Typer(
    help="Adaptive image datasets: a student draws, an oracle judges, a teacher improves.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (run, calibrate, plan, sheet, verify, retry):
    app.command()(verb)
app.add_typer(models.app, name="models")
app.add_typer(export.app, name="export")
