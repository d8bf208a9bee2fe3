"""`bottega run`, `calibrate` and `retry`: the verbs that need a Ray."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from actors.counted import counted
from actors.errors import NoInputError, SpecError
from cluster.cli.options import (
    ROWS_FAILED,
    AddressOption,
    ColumnOption,
    ForOption,
    JobFile,
    JsonOption,
    LimitOption,
    LogFormatOption,
    MetricsPortOption,
    ModelsOption,
    OutputOption,
    PromptsOption,
    RefineOption,
    SetOption,
    StrictRowsOption,
    VerboseOption,
    fields_from,
    spec_from,
)
from cluster.console import (
    LogFormat,
    console,
    keep_stdout_for_json,
    lines_of_log,
    log_to_console,
    name_job,
    print_json,
    say,
)
from cluster.signals import stopping, stopping_at_once
from jobs import JobSpec
from jobs.output.status import SCHEMA

if TYPE_CHECKING:
    from jobs import Job


def run(
    job_file: JobFile = None,
    prompts: PromptsOption = None,
    prompt_column: ColumnOption = None,
    models: ModelsOption = None,
    output: OutputOption = None,
    refine: RefineOption = None,
    changes: SetOption = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Go on with an input that only grew at its end.")
    ] = False,
    limit: LimitOption = None,
    run_for: ForOption = "",
    strict_rows: StrictRowsOption = False,
    address: AddressOption = None,
    metrics_port: MetricsPortOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    verbose: VerboseOption = False,
    json_wanted: JsonOption = False,
) -> None:
    """Run a job. Stop it with Ctrl-C; the same command continues it."""
    from cluster.hooks import hooks_of
    from cluster.metrics.of_job import metrics_of
    from cluster.session import is_attached, ray_session
    from cluster.submission.this_attempt import drain_seconds, this_attempt
    from cluster.views.progress import JobView
    from cluster.views.summary import closing_lines, summary
    from jobs import open_output
    from jobs import run as run_job
    from jobs.job_id import job_id

    keep_stdout_for_json(json_wanted)
    log_to_console(verbose, log_format)
    if limit is not None and extend:
        raise SpecError("--limit and --extend: a pilot has rows of the whole input. Leave one out.")
    given = (job_file, prompts, prompt_column, models, output, refine, run_for, changes)
    spec = spec_from(*given, limit=limit)
    attempt = this_attempt(run_for)
    identity = attempt.job_id or job_id(spec, attempt.run_for)
    name_job(identity)
    metrics = metrics_of(identity, attached=is_attached(address), port=metrics_port)
    with hooks_of(spec, attempt):
        with stopping() as stopped:
            say(f"{spec.name}: {spec.input} -> {spec.output}")
            with stopping_at_once():
                job = _resolve_if_there(spec, attempt.run_for, json_wanted)
            for line in summary(job):
                say(line)
            with JobView(job.spec.name, console, lines_of_log()) as view:
                end = run_job(
                    job,
                    observers=[view, metrics],
                    session=metrics.around(ray_session(address, say)),
                    extend=extend,
                    should_stop=stopped,
                    drain_seconds=drain_seconds(),
                    attempt=attempt,
                )
        output_there = open_output(job.output.url)
        if console.is_terminal or end.resumed_rows:  # else the log has said it
            say(f"threshold: {output_there.threshold_line()}")
        say(f"spent: {output_there.spending_line()}")
        say(f"outcome: {output_there.outcome_line()}")
        for line in closing_lines(end, job.output.url):
            say(line)
        _finish(job.output.url, json_wanted, strict_rows and end.failed_rows > 0)


def _resolve_if_there(spec: JobSpec, run_for: str, as_json: bool) -> Job:
    """The job; or the end of the command, where the job file lets a night be without news."""
    from cluster.hooks import NothingToDo
    from cluster.submission.find import nothing_to_do
    from jobs import resolve

    try:
        return resolve(spec)
    except NoInputError as error:
        if spec.missing_input == "refuse":
            raise
        found = nothing_to_do(spec, run_for, f"nothing to do: {error}".rstrip("."))
        say(f"{spec.name}: {found.standing.reason}")
        if as_json:
            print_json(found.as_json())
        raise NothingToDo from None


def calibrate(
    job_file: JobFile = None,
    prompts: PromptsOption = None,
    prompt_column: ColumnOption = None,
    models: ModelsOption = None,
    output: OutputOption = None,
    refine: RefineOption = None,
    changes: SetOption = None,
    run_for: ForOption = "",
    threshold: Annotated[
        list[float] | None,
        typer.Option("--threshold", help="Say what this threshold refines. Several may be."),
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="Find the best ladder of attempts for each budget."),
    ] = False,
    nfe: Annotated[
        float | None,
        typer.Option("--nfe", help="With --search: a budget, in mean network evaluations.", min=0),
    ] = None,
    gpu_seconds: Annotated[
        float | None,
        typer.Option(
            "--gpu-seconds", help="With --search: or one in mean actor-seconds, as timed.", min=0
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="With --search: the extra score whose mean is to be highest."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", help="With --search: a job file to write, with the ladder."),
    ] = None,
    address: AddressOption = None,
    verbose: VerboseOption = False,
    json_wanted: JsonOption = False,
) -> None:
    """Draw and score a sample; print which threshold refines which fraction, and what it costs.

    It is kept in the output, so that `bottega run` draws no other one. With --search it draws the
    sample several times, refines some of it, and prints the best ladder for each budget.
    """
    from cluster.cli import ladder_search
    from cluster.session import ray_session
    from cluster.views.progress import JobView
    from jobs import calibrate as score_sample
    from jobs import resolve

    keep_stdout_for_json(json_wanted)
    log_to_console(verbose)
    keep = job_file is not None or output is not None
    if job_file is None:
        output = output or "unused"
    given = (job_file, prompts, prompt_column, models, output, refine, run_for, changes)
    spec = spec_from(*given)
    search = search or spec.search is not None
    if not search and any(one is not None for one in (nfe, gpu_seconds, judge, write)):
        raise SpecError(
            "--nfe, --gpu-seconds, --judge and --write go with --search, which finds a ladder."
        )
    if nfe is not None and gpu_seconds is not None:
        raise SpecError("--nfe and --gpu-seconds are two budgets. Leave one out.")
    if search and threshold:
        raise SpecError("--threshold: a search finds its thresholds itself. Leave one out.")
    if search:
        ladder_search.search(
            spec,
            fields_from(*given),
            ("nfe", nfe) if nfe else ("gpu_seconds", gpu_seconds) if gpu_seconds else None,
            write,
            judge=judge,
            keep=keep,
            address=address,
            as_json=json_wanted,
        )
        return
    with stopping() as stopped:
        with stopping_at_once():
            job = resolve(spec)
        with JobView(job.spec.name, console, lines_of_log()) as view:
            sample = score_sample(
                job,
                observers=[view],
                session=ray_session(address, say),
                should_stop=stopped,
                keep=keep,
            )
    asked = {*(threshold or ()), spec.budget.threshold} - {None}
    lines = sorted([*sample.table(), *map(sample.refines, asked)], key=lambda row: row.threshold)
    if json_wanted:
        levels = [{**asdict(row), "threshold": str(row.threshold)} for row in lines]
        print_json(
            {
                "schema": SCHEMA,
                "name": job.spec.name,
                "sampled_rows": len(sample.scores),
                "student_nfe": job.student_nfe,
                "teacher_nfe": job.teacher_nfe,
                "table": levels,
            }
        )
        return
    title = f"{job.spec.name}: {len(sample.scores):,} sampled rows"
    shown = Table(title=escape(title), title_justify="left")
    for heading in ("refine", "threshold", "mean evaluations", "of all rows (95%)"):
        shown.add_column(heading, justify="right")
    for row in lines:
        low, high = row.interval
        sure = f"{low:.1%} to {high:.1%}"
        shown.add_row(f"{row.refine:.0%}", f"{row.threshold:.4g}", f"{row.nfe:.1f}", sure)
    console.print(shown)
    if job.spec.ladder is not None:
        thresholds = zip(job.spec.attempts[1:], sample.thresholds(), job.rung_nfe[1:], strict=True)
        for attempt, below, nfe in thresholds:
            console.print(f"{attempt.make} below {below:.4g}: {nfe} evaluations")
        return
    console.print(
        f"student {job.student_nfe} evaluations a picture, teacher {job.teacher_nfe} more for each "
        f"that is rejected ({job.refinement.strategy}, {job.refinement.steps} steps)"
    )


def _refuse_code_of_a_dataset(spec: JobSpec, output: str) -> None:
    """A dataset may be somebody else's, and its job.json may name any class of any module."""
    scorers = spec.models.oracle.scorers
    named = [one.kind for one in scorers if one.is_own and ":" in one.kind]
    if named:
        raise SpecError(
            f"{output!r} names {named[0]!r} as its oracle, whose code would run. Give its job file "
            "instead, or --trust-code if the dataset is yours."
        )


def retry(
    output: Annotated[
        str, typer.Argument(help="The output of a job, a folder or a URL; or its job file.")
    ],
    run_for: ForOption = "",
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Run the class that the dataset names as its oracle."),
    ] = False,
    strict_rows: StrictRowsOption = False,
    address: AddressOption = None,
    metrics_port: MetricsPortOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    verbose: VerboseOption = False,
    json_wanted: JsonOption = False,
) -> None:
    """Draw the failed rows again, into the same parts; every other row keeps its bytes."""
    from cluster.hooks import hooks_of
    from cluster.metrics.of_job import metrics_of
    from cluster.session import is_attached, ray_session
    from cluster.submission.this_attempt import drain_seconds, this_attempt
    from cluster.views.progress import JobView
    from jobs import open_output, resolve
    from jobs import retry as retry_job
    from jobs.job_id import job_id

    keep_stdout_for_json(json_wanted)
    log_to_console(verbose, log_format)
    # A job file, where the input is not any more where the output says, as in a submitted job.
    file = Path(output)
    given = spec_from(file, None, None, None, None, None, run_for) if file.is_file() else None
    before = open_output(given.output if given else output)
    spec = given or before.spec
    if not given and not trust_code:
        _refuse_code_of_a_dataset(spec, output)
    attempt = this_attempt(run_for)
    identity = attempt.job_id or job_id(spec, attempt.run_for)
    name_job(identity)
    metrics = metrics_of(identity, attached=is_attached(address), port=metrics_port)
    failed = before.progress().failed_rows
    with hooks_of(spec, attempt, "retry"):
        with stopping() as stopped:
            with stopping_at_once():
                job = resolve(spec)
            with JobView(job.spec.name, console, lines_of_log()) as view:
                end = retry_job(
                    job,
                    observers=[view, metrics],
                    session=metrics.around(ray_session(address, say)),
                    should_stop=stopped,
                    drain_seconds=drain_seconds(),
                    attempt=attempt,
                )
        say(f"{counted(failed, 'row')} had failed, {end.failed_rows:,} still do")
        if end.parts_done < end.num_parts:
            say(
                f"{end.parts_done:,} of {end.num_parts:,} parts are there; "
                "`bottega run` does the others"
            )
        _finish(before.url, json_wanted, strict_rows and end.failed_rows > 0)


def _finish(output: str, as_json: bool, rows_failed: bool) -> None:
    """Print the state of the job for a program, and exit as `--strict-rows` asks for."""
    from cluster.submission.find import find_job

    if as_json:
        print_json(find_job(f"{output}/", None, None).as_json())
    if rows_failed:
        raise typer.Exit(ROWS_FAILED)
