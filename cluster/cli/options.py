"""Options that several verbs share, and the spec that follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from actors.errors import SpecError
from cluster.console import LogFormat
from jobs import JobSpec, load_spec, make_spec

JobFile = Annotated[
    Path | None,
    typer.Argument(help="A job file (docs/job-file.md). Or give --prompts and --output."),
]
PromptsOption = Annotated[
    str | None, typer.Option("--prompts", help="Prompts: a file, folder or glob. Replaces `input`.")
]
ColumnOption = Annotated[
    str | None,
    typer.Option("--prompt-column", help="The column with the prompts, if not `prompt`."),
]
ModelsOption = Annotated[
    str | None, typer.Option("--models", help="A preset of models. Replaces `models`.")
]
OutputOption = Annotated[
    str | None, typer.Option("--output", help="The dataset's folder. Replaces `output`.")
]
RefineOption = Annotated[
    float | None, typer.Option("--refine", help="The fraction to refine. Replaces `budget`.")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="A Ray, `auto` or `local`. Default: RAY_ADDRESS, or local."),
]
MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        help="Serve metrics for Prometheus at this port of 127.0.0.1 (docs/metrics.md).",
        min=1,
        max=65535,
    ),
]
LogFormatOption = Annotated[
    LogFormat,
    typer.Option("--log-format", help="`json`: one object a line, with job, host and process."),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log every decision.")]
OutputFolderArgument = Annotated[Path, typer.Argument(help="The output folder of a job.")]


def spec_from(
    job_file: Path | None,
    prompts: str | None,
    prompt_column: str | None,
    models: str | None,
    output: str | None,
    refine: float | None,
) -> JobSpec:
    """The spec of a job file, with the options in place of its fields, or of the options alone."""
    given: dict[str, Any] = {
        "input": prompts,
        "prompt_column": prompt_column,
        "models": models,
        "output": output,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    if refine is not None:
        overrides["budget"] = {"refine": refine}
    if job_file is not None:
        return load_spec(job_file, **overrides)
    missing = [
        option for option, value in (("--prompts", prompts), ("--output", output)) if not value
    ]
    if missing:
        raise SpecError(f"give a job file, or {' and '.join(missing)}. See `bottega run --help`.")
    return make_spec({"models": "shapes", **overrides}, where="options")
