"""`bottega run`, `calibrate` and `retry`: the verbs that need a Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cluster.cli.options import (
    AddressOption,
    ColumnOption,
    JobFile,
    ModelsOption,
    OutputFolderArgument,
    OutputOption,
    PromptsOption,
    RefineOption,
    VerboseOption,
    spec_from,
)
from cluster.console import console, log_to_console, say
from cluster.signals import stopping

if TYPE_CHECKING:
    from jobs.execution.dispatcher import Dispatcher
    from jobs.resolution import Job
    from jobs.spec.job_spec import JobSpec


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
    verbose: VerboseOption = False,
) -> None:
    """Run a job. Stop it with Ctrl-C; the same command continues it."""
    from cluster.views.progress import JobView, duration
    from jobs.execution.run import run_job

    log_to_console(verbose)
    spec = spec_from(job_file, prompts, prompt_column, models, output, refine)
    with stopping() as stopped, _dispatcher_for(spec, address, stopped) as (job, make_dispatcher):
        say(f"{job.spec.name}: {job.prompts.num_rows:,} prompts -> {job.output.path}")
        with JobView(job.spec.name, console) as view:
            end = run_job(job, make_dispatcher, [view], extend)
    say(_threshold_line(job))
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
    from cluster.views.progress import JobView
    from jobs.execution.calibration import score, table

    log_to_console(verbose)
    spec = spec_from(job_file, prompts, prompt_column, models, output or "unused", refine)
    with stopping() as stopped, _dispatcher_for(spec, address, stopped) as (job, make_dispatcher):
        sample = job.prompts.sample(spec.calibration_rows)
        with JobView(job.spec.name, console) as view, make_dispatcher() as dispatcher:
            dispatcher.observers.add(view)
            scores = score(job, dispatcher, sample)
    shown = Table(
        title=escape(f"{job.spec.name}: {len(scores)} sampled rows"), title_justify="left"
    )
    for heading in ("refine", "threshold", "mean evaluations"):
        shown.add_column(heading, justify="right")
    for row in table(job, scores):
        shown.add_row(f"{row.refine:.0%}", f"{row.threshold:.4g}", f"{row.nfe:.1f}")
    console.print(shown)
    console.print(
        f"student {job.student_nfe} evaluations a picture, teacher {job.teacher_nfe} more for each "
        f"that is rejected ({job.refinement.strategy}, {job.refinement.steps} steps)"
    )


def retry(
    folder: OutputFolderArgument,
    address: AddressOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Draw the failed rows again, into the same parts; every other row keeps its bytes."""
    from cluster.views.progress import JobView
    from jobs.execution.run import retry_job
    from jobs.output.folder import OutputFolder

    log_to_console(verbose)
    output = OutputFolder(folder)
    failed = sum(record["failed"] for record in output.records().values())
    with (
        stopping() as stopped,
        _dispatcher_for(output.read_spec(), address, stopped) as (job, make_dispatcher),
        JobView(job.spec.name, console) as view,
    ):
        end = retry_job(job, make_dispatcher, [view])
    say(f"{failed:,} rows had failed, {end.failed_rows:,} still do")
    if end.parts_done < end.num_parts:
        say(
            f"{end.parts_done:,} of {end.num_parts:,} parts are there; "
            "`bottega run` does the others"
        )


def _threshold_line(job: Job) -> str:
    """What the calibration found, and what it cost."""
    from jobs.output.records import describe_calibration

    found = (job.output.read_job() or {}).get("calibration")
    return f"threshold: {describe_calibration(found)}" if found else "threshold: none was needed"


@contextmanager
def _dispatcher_for(
    spec: JobSpec, address: str | None, stopped: Callable[[], bool]
) -> Iterator[tuple[Job, Callable[[], Dispatcher]]]:
    """The job, and what makes its dispatcher. Ray starts with it, after every check."""
    from cluster.session import ray_session
    from jobs.execution.launch import dispatcher_on_ray
    from jobs.resolution import resolve

    job = resolve(spec)
    with ExitStack() as stack:
        yield (
            job,
            lambda: dispatcher_on_ray(job, stack.enter_context(ray_session(address)), stopped),
        )
