"""`bottega sheet` and `bottega verify`: they read a dataset that is there."""

from __future__ import annotations

from typing import Annotated

import typer

from actors.counted import counted
from cluster.cli.options import JsonOption, OutputFolderArgument
from cluster.console import keep_stdout_for_json, print_json, say
from jobs.output.status import SCHEMA


def sheet(
    folder: OutputFolderArgument,
    target: Annotated[
        str | None,
        typer.Option("--to", help="The PNG to write, a path or URL. Default: sheet.png there."),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of each kind to show.", min=1, max=200)] = 12,
    json_wanted: JsonOption = False,
) -> None:
    """Make a contact sheet: accepted pictures, and refined ones before and after."""
    from jobs import open_output

    sheet = open_output(folder).contact_sheet(target, rows)
    if json_wanted:
        print_json({"schema": SCHEMA, "sheet": str(sheet)})
    else:
        say(f"contact sheet: {sheet}")


def verify(folder: OutputFolderArgument, json_wanted: JsonOption = False) -> None:
    """Check every part against its record, and every picture; exit code 1 if anything is wrong."""
    from jobs import open_output

    keep_stdout_for_json(json_wanted)
    output = open_output(folder)
    found = []
    for problem in output.verify():
        found.append(str(problem))
        say(found[-1])
    if json_wanted:
        rows = output.job["rows"]
        failed = output.progress().failed_rows
        found_json = {"ok": not found, "rows": rows, "failed_rows": failed, "problems": found}
        print_json({"schema": SCHEMA, **found_json})
    if found:
        say(f"{len(found)} wrong in {folder}")
        raise typer.Exit(1)
    failed = output.progress().failed_rows
    some = f", {failed:,} of them failed (column `error` says why)," if failed else ""
    say(f"all is well: {counted(output.job['rows'], 'row')}{some} in {folder}")
