"""`bottega sheet` and `bottega verify`: they read a dataset that is there."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.cli.options import OutputFolderArgument
from cluster.console import say


def sheet(
    folder: OutputFolderArgument,
    target: Annotated[
        str | None,
        typer.Option("--to", help="The PNG to write, a path or URL. Default: sheet.png there."),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of each kind to show.", min=1, max=200)] = 12,
) -> None:
    """Make a contact sheet: accepted pictures, and refined ones before and after."""
    from jobs import open_output

    say(f"contact sheet: {open_output(folder).contact_sheet(target, rows)}")


def verify(folder: OutputFolderArgument) -> None:
    """Check every part against its record, and every picture; exit code 1 if anything is wrong."""
    from jobs import open_output

    output = open_output(folder)
    found = 0
    for problem in output.verify():
        found += 1
        say(str(problem))
    if found:
        say(f"{found} wrong in {folder}")
        raise typer.Exit(1)
    say(f"all is well: {output.job['rows']:,} rows in {folder}")
