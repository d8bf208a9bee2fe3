"""`bottega retention`: which outputs for other dates would go, and the flag that deletes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.options import JsonOption, ProfileOption
from cluster.console import print_json, say
from jobs.output.status import SCHEMA


def retention(
    job_file: Annotated[
        Path, typer.Argument(help="A job file with `after.retention`, and {date} in `output`.")
    ],
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete what would go. Default: only show it.")
    ] = False,
    profile: ProfileOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """Show which outputs of a job for old dates would go; with --delete they do."""
    from cluster.exports.job_file import check_job_file
    from cluster.profiles import below_base, load_profile
    from jobs.output.dated_outputs import retire

    spec = check_job_file(job_file)
    if (kept := spec.after.retention) and kept.of:
        kept = kept.model_copy(update={"of": below_base(kept.of, load_profile(profile))})
        after = spec.after.model_copy(update={"retention": kept})
        spec = spec.model_copy(update={"after": after})
    found = []
    for verdict in retire(spec, delete=delete):
        found.append(verdict)
        if not json_wanted:
            say(str(verdict))
    if json_wanted:
        print_json(
            {
                "schema": SCHEMA,
                "outputs": [
                    {
                        "output": one.output.url,
                        "date": one.output.date,
                        "goes": one.goes,
                        "deleted": one.done,
                        "reason": one.reason,
                        "bytes": one.output.num_bytes,
                    }
                    for one in found
                ],
            }
        )
        return
    going = [one for one in found if one.goes]
    size = sum(one.output.num_bytes for one in going) / 1e6
    staying = len(found) - len(going)
    stay = f"{staying:,} {'stays' if staying == 1 else 'stay'}"
    if delete:
        were = "was" if len(going) == 1 else "were"
        say(f"{stay}; {len(going):,} {were} deleted, {size:,.1f} MB")
    elif going:
        say(f"{stay}; {len(going):,} would go, {size:,.1f} MB. Nothing was deleted: add --delete.")
    else:
        say(f"{stay}; none would go")
