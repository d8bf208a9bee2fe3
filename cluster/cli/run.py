"""`bottega run`, `calibrate` and `retry`: the verbs that need a Ray."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cluster.cli.options import (
    AddressOption,
    ColumnOption,
    JobFile,
    LogFormatOption,
    MetricsPortOption,
    ModelsOption,
    OutputFolderArgument,
    OutputOption,
    PromptsOption,
    RefineOption,
    VerboseOption,
    spec_from,
)
from cluster.console import LogFormat, console, lines_of_log, log_to_console, name_job, say
from cluster.signals import stopping, stopping_at_once


def run(
    job_file: JobFile = None,
    prompts: PromptsOption = None,
    prompt_column: ColumnOption = None,
    models: ModelsOption = None,
    output: OutputOption = None,
    refine: RefineOption = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Go on with an input that only grew at its end.")
    ] = False,
    address: AddressOption = None,
    metrics_port: MetricsPortOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Run a job. Stop it with Ctrl-C; the same command continues it."""
    from cluster.metrics.of_job import metrics_of
    from cluster.session import is_attached, ray_session
    from cluster.views.progress import JobView, duration
    from jobs import open_output, resolve
    from jobs import run as run_job

    log_to_console(verbose, log_format)
    spec = spec_from(job_file, prompts, prompt_column, models, output, refine)
    name_job(spec.name)
    metrics = metrics_of(spec.name, attached=is_attached(address), port=metrics_port)
    with stopping() as stopped:
        with stopping_at_once():
            job = resolve(spec)
        say(f"{job.spec.name}: {job.prompts.num_rows:,} prompts -> {job.output.path}")
        with JobView(job.spec.name, console, lines_of_log()) as view:
            end = run_job(
                job,
                observers=[view, metrics],
                session=metrics.around(ray_session(address, say)),
                extend=extend,
                should_stop=stopped,
            )
    output_there = open_output(job.output.path)
    say(f"threshold: {output_there.threshold_line()}")
    say(f"spent: {output_there.spending_line()}")
    new = end.done_rows - end.resumed_rows
    say(
        f"done: {end.done_rows:,} rows in {job.output.path} ({new:,} in this run, "
        f"{end.refined_rows:,} of them refined by the teacher; {end.failed_rows:,} failed), "
        f"{duration(end.elapsed_seconds)}"
    )


def calibrate(
    job_file: JobFile = None,
    prompts: PromptsOption = None,
    prompt_column: ColumnOption = None,
    models: ModelsOption = None,
    output: OutputOption = None,
    refine: RefineOption = None,
    address: AddressOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Draw and score a sample; print which threshold refines which fraction, and what it costs."""
    from cluster.session import ray_session
    from cluster.views.progress import JobView
    from jobs import calibrate as score_sample
    from jobs import resolve

    log_to_console(verbose)
    spec = spec_from(job_file, prompts, prompt_column, models, output or "unused", refine)
    with stopping() as stopped:
        with stopping_at_once():
            job = resolve(spec)
        with JobView(job.spec.name, console) as view:
            sample = score_sample(
                job, observers=[view], session=ray_session(address, say), should_stop=stopped
            )
    title = f"{job.spec.name}: {len(sample.scores):,} sampled rows"
    shown = Table(title=escape(title), title_justify="left")
    for heading in ("refine", "threshold", "mean evaluations", "of all rows (95%)"):
        shown.add_column(heading, justify="right")
    for row in sample.table():
        low, high = row.interval
        sure = f"{low:.1%} to {high:.1%}"
        shown.add_row(f"{row.refine:.0%}", f"{row.threshold:.4g}", f"{row.nfe:.1f}", sure)
    console.print(shown)
    console.print(
        f"student {job.student_nfe} evaluations a picture, teacher {job.teacher_nfe} more for each "
        f"that is rejected ({job.refinement.strategy}, {job.refinement.steps} steps)"
    )


def retry(
    folder: OutputFolderArgument,
    address: AddressOption = None,
    metrics_port: MetricsPortOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Draw the failed rows again, into the same parts; every other row keeps its bytes."""
    from cluster.metrics.of_job import metrics_of
    from cluster.session import is_attached, ray_session
    from cluster.views.progress import JobView
    from jobs import open_output, resolve
    from jobs import retry as retry_job

    log_to_console(verbose, log_format)
    output = open_output(folder)
    name_job(output.spec.name)
    metrics = metrics_of(output.spec.name, attached=is_attached(address), port=metrics_port)
    failed = output.progress().failed_rows
    with stopping() as stopped:
        with stopping_at_once():
            job = resolve(output.spec)
        with JobView(job.spec.name, console, lines_of_log()) as view:
            end = retry_job(
                job,
                observers=[view, metrics],
                session=metrics.around(ray_session(address, say)),
                should_stop=stopped,
            )
    say(f"{failed:,} rows had failed, {end.failed_rows:,} still do")
    if end.parts_done < end.num_parts:
        say(
            f"{end.parts_done:,} of {end.num_parts:,} parts are there; "
            "`bottega run` does the others"
        )
