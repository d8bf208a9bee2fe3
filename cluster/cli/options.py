"""Options that several verbs share, and the spec that follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from actors.errors import SpecError
from cluster.console import LogFormat
from jobs import JobSpec, make_spec
from jobs.job_id import fill_in
from jobs.spec.changes import with_changes
from jobs.spec.strict_yaml import read_mapping

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


def presets(begun: str) -> list[str]:
    """The presets whose names begin so, for the shell's completion."""
    from actors.models.presets import CATALOGUE

    return [name for name in CATALOGUE if name.startswith(begun)]


ModelsOption = Annotated[
    str | None,
    typer.Option("--models", help="A preset of models. Replaces `models`.", autocompletion=presets),
]
PresetArgument = Annotated[
    str,
    typer.Argument(help="A preset of models; `bottega models` lists them.", autocompletion=presets),
]
OutputOption = Annotated[
    str | None, typer.Option("--output", help="The dataset's folder. Replaces `output`.")
]
RefineOption = Annotated[
    float | None, typer.Option("--refine", help="The fraction to refine. Replaces `budget`.")
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        help="A pilot: so many rows, spread over the input, into the folder OUTPUT-pilot-N. "
        "Of `after` only verify follows it.",
        min=1,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A field of the job file, as seed=3 or budget.nfe=8. Several may be."
    ),
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
OutputFolderArgument = Annotated[
    str, typer.Argument(help="The output of a job: a folder, or a URL as s3://BUCKET/FOLDER.")
]


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs, and nothing else on stdout.")
]
ForOption = Annotated[
    str,
    typer.Option("--for", help="What this run is for, as 2026-11-23: {for} and {date} in paths."),
]
StrictRowsOption = Annotated[
    bool, typer.Option("--strict-rows", help="Exit with 3 if the job is done, but rows failed.")
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="A profile (docs/cluster.md). Default: BOTTEGA_PROFILE."),
]
ClusterOption = Annotated[
    str | None,
    typer.Option("--address", help="The cluster's: http://head:8265. Default: BOTTEGA_ADDRESS."),
]

TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", help="Wait no longer, as 90m or 6h; then exit with 124.")
]

ROWS_FAILED = 3
"""The exit code of `--strict-rows`."""


def spec_from(
    job_file: Path | None,
    prompts: str | None,
    prompt_column: str | None,
    models: str | None,
    output: str | None,
    refine: float | None,
    run_for: str = "",
    changes: list[str] | None = None,
    *,
    limit: int | None = None,
) -> JobSpec:
    """The spec of a job file, with the options in place of its fields, or of the options alone.

    limit: rows of a pilot, which has an output of its own beside the job's.
    """
    given = (job_file, prompts, prompt_column, models, output, refine, run_for, changes)
    fields = fields_from(*given)
    spec = make_spec(fields, where=where_of(job_file))
    if limit is None:
        return spec
    # Nobody has to be told of a pilot, and nothing of the job's may be sent or deleted for it.
    pilot = {"limit": limit, "output": f"{spec.output.rstrip('/')}-pilot-{limit}"}
    after = {"verify": spec.after.verify}
    return make_spec({**fields, **pilot, "after": after}, where=where_of(job_file))


def where_of(job_file: Path | None) -> str:
    """The place of a mistake in the fields, for its message."""
    return str(job_file) if job_file else "options"


def fields_from(
    job_file: Path | None,
    prompts: str | None,
    prompt_column: str | None,
    models: str | None,
    output: str | None,
    refine: float | None,
    run_for: str = "",
    changes: list[str] | None = None,
) -> dict[str, Any]:
    """The fields of a job as they are written, with the options in their places."""
    given: dict[str, Any] = {
        "input": prompts,
        "prompt_column": prompt_column,
        "models": models,
        "output": output,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    if refine is not None:
        overrides["budget"] = {"refine": refine}
    fields = {**(read_mapping(job_file) if job_file else {}), **overrides}
    fields = with_changes(fields, changes or ())
    if job_file is None:
        needed = {"--prompts": "input", "--models": "models", "--output": "output"}
        missing = [option for option, name in needed.items() if not fields.get(name)]
        if missing:
            hint = (
                " `bottega models` lists the models; `shapes` are the small ones that come along."
                if "--models" in missing
                else ""
            )
            raise SpecError(f"give a job file, or {_and(missing)}.{hint} See `bottega run --help`.")
    return fill_in(fields, run_for)


def _and(words: list[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
