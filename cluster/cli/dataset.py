"""`bottega sheet` and `bottega verify`: a dataset that is there, looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.options import OutputFolderArgument
from cluster.console import say


def sheet(
    folder: OutputFolderArgument,
    target: Annotated[
        Path | None,
        typer.Option("--to", help="The PNG to write. Default: sheet.png in the folder."),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of each kind to show.", min=1, max=200)] = 12,
) -> None:
    """Make a contact sheet: accepted pictures, and refined ones before and after."""
    from jobs.output.folder import OutputFolder
    from jobs.output.pages.contact_sheet import make_sheet

    path = make_sheet(OutputFolder(folder), target or folder / "sheet.png", rows)
    say(f"contact sheet: {path}")


def verify(folder: OutputFolderArgument) -> None:
    """Check every part against its record, and every picture; exit code 1 if anything is wrong."""
    from jobs.output.folder import OutputFolder
    from jobs.output.verify import verify as problems_of

    checked = OutputFolder(folder)
    found = 0
    for problem in problems_of(checked):
        found += 1
        say(str(problem))
    if found:
        say(f"{found} wrong in {folder}")
        raise typer.Exit(1)
    rows = checked.require_job()["rows"]
    say(f"all is well: {rows:,} rows in {folder}")
