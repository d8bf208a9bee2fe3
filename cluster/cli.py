"""The `bottega` command."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from actors.errors import BottegaError, SpecError
from actors.redact import RedactingFilter
from cluster import models
from jobs.spec.job_spec import JobSpec, load_spec, make_spec

if TYPE_CHECKING:
    from cluster.session import Resources
    from jobs.execution.dispatcher import Dispatcher
    from jobs.resolve import Job

app = typer.Typer(
    help="Adaptive image datasets: a student draws, an oracle judges, a teacher improves.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models.app, name="models")
console = Console()
errors = Console(stderr=True)

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
    typer.Option("--address", help="A running Ray, or `auto`. Default: start one on this machine."),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log every decision.")]


@app.command()
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
    from cluster.view import JobView, duration
    from jobs.execution.runner import run_job

    _log_to_console(verbose)
    spec = _spec(job_file, prompts, prompt_column, models, output, refine)
    with _stopping() as stopped, _dispatcher_for(spec, address, stopped) as (job, make_dispatcher):
        line = f"{job.spec.name}: {job.prompts.num_rows:,} prompts -> {job.output.path}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        with JobView(job.spec.name, console) as view:
            end = run_job(job, make_dispatcher, view, extend)
    console.print(_threshold_line(job), highlight=False, markup=False, soft_wrap=True)
    new = end.done_rows - end.resumed_rows
    console.print(
        f"done: {end.done_rows:,} rows in {job.output.path} ({new:,} in this run, "
        f"{end.refined_rows:,} of them refined by the teacher; {end.failed_rows:,} failed), "
        f"{duration(end.elapsed_seconds)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
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
    from cluster.view import JobView
    from jobs.execution.calibration import score, table

    _log_to_console(verbose)
    spec = _spec(job_file, prompts, prompt_column, models, output or "unused", refine)
    with _stopping() as stopped, _dispatcher_for(spec, address, stopped) as (job, make_dispatcher):
        sample = job.prompts.sample(spec.calibration_rows)
        with JobView(job.spec.name, console) as view, make_dispatcher() as dispatcher:
            scores = score(job, dispatcher, sample, view)
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


@app.command()
def plan(
    job_file: JobFile = None,
    prompts: PromptsOption = None,
    prompt_column: ColumnOption = None,
    models: ModelsOption = None,
    output: OutputOption = None,
    refine: RefineOption = None,
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
        Path | None,
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
    from cluster.plan_view import show
    from jobs.planning.forecast import Options, as_json, forecast

    if job_file is None:
        prompts, output = prompts or ("-" if rows else None), output or "unused"
    spec = _spec(job_file, prompts, prompt_column, models, output, refine)
    options = Options(
        gpus=gpus, deadline=deadline, rows=rows, profile=profile, measured=measured, prices=prices
    )
    with errors.status("simulating"):
        found = forecast(spec, options)
    if json_wanted:
        sys.stdout.write(as_json(found))
    else:
        show(console, found)


@app.command()
def sheet(
    folder: Annotated[Path, typer.Argument(help="The output folder of a job.")],
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
    console.print(f"contact sheet: {path}", soft_wrap=True, highlight=False, markup=False)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="The output folder of a job.")],
) -> None:
    """Check every part against its record, and every picture; exit code 1 if anything is wrong."""
    from jobs.output.folder import OutputFolder
    from jobs.output.verify import verify as problems_of

    checked = OutputFolder(folder)
    found = 0
    for problem in problems_of(checked):
        found += 1
        console.print(str(problem), soft_wrap=True, highlight=False, markup=False)
    if found:
        console.print(f"{found} wrong in {folder}", soft_wrap=True, highlight=False, markup=False)
        raise typer.Exit(1)
    rows = checked.require_job()["rows"]
    line = f"all is well: {rows:,} rows in {folder}"
    console.print(line, soft_wrap=True, highlight=False, markup=False)


@app.command()
def retry(
    folder: Annotated[Path, typer.Argument(help="The output folder of a job.")],
    address: AddressOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Draw the failed rows again, into the same parts; every other row keeps its bytes."""
    from cluster.view import JobView
    from jobs.execution.runner import retry_job
    from jobs.output.folder import OutputFolder

    _log_to_console(verbose)
    output = OutputFolder(folder)
    failed = sum(record["failed"] for record in output.records().values())
    with (
        _stopping() as stopped,
        _dispatcher_for(output.read_spec(), address, stopped) as (job, make_dispatcher),
        JobView(job.spec.name, console) as view,
    ):
        end = retry_job(job, make_dispatcher, view)
    console.print(
        f"{failed:,} rows had failed, {end.failed_rows:,} still do", soft_wrap=True, highlight=False
    )
    if end.parts_done < end.num_parts:
        console.print(
            f"{end.parts_done:,} of {end.num_parts:,} parts are there; "
            "`bottega run` does the others",
            soft_wrap=True,
            highlight=False,
        )


def _threshold_line(job: Job) -> str:
    """What the calibration found, and what it cost."""
    from jobs.output.records import describe_calibration

    found = (job.output.read_job() or {}).get("calibration")
    return f"threshold: {describe_calibration(found)}" if found else "threshold: none was needed"


def _spec(
    job_file: Path | None,
    prompts: str | None,
    prompt_column: str | None,
    models: str | None,
    output: str | None,
    refine: float | None,
) -> JobSpec:
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


@contextmanager
def _dispatcher_for(
    spec: JobSpec, address: str | None, stopped: Callable[[], bool]
) -> Iterator[tuple[Job, Callable[[], Dispatcher]]]:
    """The job, and what makes its crew. Ray starts with the crew, after every check."""
    from cluster.session import check_packages, ray_session
    from jobs.resolve import resolve

    check_packages()
    job = resolve(spec)
    with ExitStack() as stack:
        yield job, lambda: _make_dispatcher(job, stack.enter_context(ray_session(address)), stopped)


def _make_dispatcher(job: Job, have: Resources, stopped: Callable[[], bool]) -> Dispatcher:
    from jobs.execution.dispatcher import Dispatcher
    from jobs.execution.ray_executor import RayExecutor
    from jobs.scaling.initial_sizes import guess_loads, plan_pools

    loads = guess_loads(job)
    plans = plan_pools(job.spec.pools, have.cpus, have.gpus, have.labelled_gpus, loads)
    return Dispatcher(
        job,
        RayExecutor(job, plans),
        plans.sizes,
        task_slots=max(1, int(have.cpus / 2)),
        object_store_bytes=have.object_store_bytes,
        should_stop=stopped,
        capacity=plans.capacity,
    )


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask the runner to stop; a second one stops at once."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        # On a terminal above the live view, which is on the same console.
        where = console if console.is_terminal else errors
        where.print("stopping; again to stop at once", highlight=False)

    # Ray sets its own handlers when it starts: ours are set again once it has.
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def stopped() -> bool:
        for number in before:
            if signal.getsignal(number) is not ask:
                signal.signal(number, ask)
        return bool(asked)

    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to_console(verbose: bool) -> None:
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, show_level=False)
    else:
        # A file is read later and searched: whole lines, each with its date.
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("bottega")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose or not console.is_terminal else logging.WARNING)


def main() -> None:
    """Run the command; a user's mistake is shown as a sentence, not a traceback."""
    try:
        app()
    except BottegaError as error:
        errors.print(
            f"bottega: {error}", style="red", highlight=False, markup=False, soft_wrap=True
        )
        sys.exit(error.exit_code)
