"""`bottega plan`: the time, GPUs and cost of a job, before anything starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.options import (
    ColumnOption,
    JobFile,
    ModelsOption,
    OutputOption,
    PromptsOption,
    RefineOption,
    SetOption,
    spec_from,
)
from cluster.console import console, errors


def plan(
    job_file: JobFile = None,
    prompts: PromptsOption = None,
    prompt_column: ColumnOption = None,
    models: ModelsOption = None,
    output: OutputOption = None,
    refine: RefineOption = None,
    changes: SetOption = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", help="GPUs there are: 8, or A100-80G=8,L4=4. Default: 8."),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option("--deadline", help="Find the fewest GPUs that end by then: 90m, 6h, 2d."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", help="So many rows, instead of the input's.", min=1)
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", help="Measured seconds of the models: a CSV (docs/plan.md)."),
    ] = None,
    measured: Annotated[
        str | None,
        typer.Option("--measured", help="The output of a job with these models: its seconds."),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", help="Your prices: a CSV of gpu,per_hour.")
    ] = None,
    json_wanted: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, for programs.")
    ] = False,
) -> None:
    """Say what a job will take, before anything starts: time, GPUs, pool sizes and cost."""
    from cluster.profiles import load_profile
    from cluster.views.plan import show
    from jobs import plan as forecast

    if job_file is None:
        prompts, output = prompts or ("-" if rows else None), output or "unused"
    spec = spec_from(job_file, prompts, prompt_column, models, output, refine, changes=changes)
    with errors.status("simulating the job") as status:
        found = forecast(
            spec,
            gpus=gpus,
            deadline=deadline,
            rows=rows,
            profile=profile,
            measured=measured,
            prices=prices or load_profile(None).prices,
            on_step=status.update,
        )
    if json_wanted:
        sys.stdout.write(found.as_json())
    else:
        show(console, found)
