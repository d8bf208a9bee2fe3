"""`bottega cluster`: Ray's own commands on a cluster's file, and a check before the bill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actors.errors import ClusterError
from cluster.cli.options import JsonOption
from cluster.console import print_json, say
from cluster.launcher.finding import Finding, Severity

app = typer.Typer(
    help="Check, start and end a Ray cluster: `ray up`, with a check before the bill.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FileArgument = Annotated[Path, typer.Argument(help="The cluster's file, as for `ray up`.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
JobOption = Annotated[
    Path | None, typer.Option("--job", help="A job file: check that the cluster suits it, too.")
]
SharedOption = Annotated[
    list[str] | None,
    typer.Option("--shared", help="A folder that every node mounts at the same place."),
]
DEFAULT = Path("ray_config.yaml")


@app.command()
def check(
    file: FileArgument = DEFAULT,
    job_file: JobOption = None,
    shared: SharedOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """Say what is wrong with a cluster's file before it costs anything; exit code 1 for errors."""
    found = _findings(file, job_file, tuple(shared or ()))
    if json_wanted:
        rows = [{"severity": f.severity, "about": f.about, "text": f.text} for f in found]
        print_json({"schema": 1, "file": str(file), "findings": rows})
    else:
        for finding in found:
            say(str(finding))
        if not found:
            say(f"{file}: nothing is wrong with it")
    if any(finding.severity is Severity.ERROR for finding in found):
        raise typer.Exit(1)


@app.command()
def up(
    file: FileArgument = DEFAULT,
    job_file: JobOption = None,
    shared: SharedOption = None,
    yes: YesOption = False,
) -> None:
    """Check the file, then `ray up`; a file with errors is refused."""
    from cluster.launcher import ray_commands

    found = _findings(file, job_file, tuple(shared or ()))
    for finding in found:
        say(str(finding))
    if any(finding.severity is Severity.ERROR for finding in found):
        raise ClusterError(f"{file}: the cluster is not started. Mend the errors above.")
    raise typer.Exit(ray_commands.up(file, yes))


@app.command()
def down(file: FileArgument = DEFAULT, yes: YesOption = False) -> None:
    """`ray down`: end every node of the cluster."""
    from cluster.launcher import ray_commands

    raise typer.Exit(ray_commands.down(file, yes))


@app.command()
def status(file: FileArgument = DEFAULT) -> None:
    """`ray status` on the head: the nodes, what they have, and what is asked for."""
    from cluster.launcher import ray_commands

    raise typer.Exit(ray_commands.status(file))


def _findings(file: Path, job_file: Path | None, shared: tuple[str, ...]) -> list[Finding]:
    from cluster.launcher.checks import check_cluster
    from cluster.launcher.read_file import facts_of_this_machine, read_cluster
    from jobs import load_spec

    job = load_spec(job_file) if job_file else None
    cluster, found = read_cluster(file)
    if cluster is None:
        return found
    return check_cluster(cluster, facts_of_this_machine(shared), job)
