"""`bottega submit`: a job to a cluster. Again, it attaches, goes on, or says that it is done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from actors.errors import OutputError, SpecError
from cluster.cli.follow import follow_to_the_end
from cluster.cli.options import (
    ClusterOption,
    ColumnOption,
    ForOption,
    JobFile,
    JsonOption,
    ModelsOption,
    OutputOption,
    ProfileOption,
    PromptsOption,
    RefineOption,
    SetOption,
    StrictRowsOption,
    TimeoutOption,
    fields_from,
    where_of,
)
from cluster.console import errors, log_to_stderr, print_json, say
from jobs import make_spec


def submit(
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
    retry: Annotated[
        bool, typer.Option("--retry", help="Draw the failed rows of the job's output again.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Only calibrate: the table is in its log.")
    ] = False,
    run_for: ForOption = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", help="A label, as team=faces. Several may be.")
    ] = None,
    shared: Annotated[
        list[str] | None,
        typer.Option("--shared", help="A folder that every node mounts at the same place."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job. Ctrl-C detaches, and stops nothing.")
    ] = False,
    timeout: TimeoutOption = None,
    strict_rows: StrictRowsOption = False,
    address: ClusterOption = None,
    profile: ProfileOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """Submit a job to a cluster. Submitting it again attaches, goes on, or says that it is done."""
    from cluster.profiles import below_base, load_profile
    from cluster.submission.connect import connect_to
    from cluster.submission.decision import Action
    from cluster.submission.find import find_job, nothing_to_do
    from cluster.submission.submit import JobToSubmit
    from cluster.submission.submit import submit as submit_job

    log_to_stderr()
    if retry and calibrate:
        raise SpecError("--retry and --calibrate are two jobs: submit one after the other.")
    if (retry or calibrate) and (extend or (calibrate and strict_rows)):
        work = "--retry" if retry else "--calibrate"
        option = "--extend" if extend else "--strict-rows"
        raise SpecError(f"{option} is for a run, and {work} is none. Leave one of them out.")
    known = load_profile(profile)
    if calibrate and output is None and job_file is None:
        output = "unused"
    fields = fields_from(job_file, prompts, prompt_column, models, output, refine, run_for, changes)
    if isinstance(fields.get("output"), str):
        fields["output"] = below_base(fields["output"], known)
    after = fields.get("after")
    if isinstance(after, dict) and isinstance(after.get("retention"), dict):
        of = below_base(str(after["retention"].get("of")), known)
        fields["after"] = {**after, "retention": {**after["retention"], "of": of}}
    connect = connect_to(address, known)
    job = JobToSubmit(
        fields=fields,
        spec=make_spec(fields, where=where_of(job_file)),
        beside=(job_file.parent if job_file else Path()).absolute(),
        shared=(*known.shared, *(shared or ())),
        work="retry" if retry else "calibrate" if calibrate else "run",
        extend=extend,
        run_for=run_for,
        labels=labels_from(label or ()),
        options=(*(["--extend"] if extend else []), *(["--strict-rows"] if strict_rows else [])),
    )
    done = submit_job(job, connect.cluster)
    decision = done.decision
    if decision.action is Action.REFUSE:
        raise OutputError(decision.reason)
    shown = decision.submission_id or job.id
    say(f"{job.spec.name}: {decision.reason}", errors)
    if done.luggage:
        say(f"{done.luggage} travelled with it", errors)
    if not json_wanted:
        sys.stdout.write(f"{shown}\n")
        sys.stdout.flush()
    at_output = decision.action is Action.DONE or not decision.submission_id
    key = job.output if at_output and not calibrate else shown
    if wait and decision.action is not Action.DONE:
        follow_to_the_end([key], connect, timeout, strict_rows, json_wanted, are_known=True)
        return
    if json_wanted:
        found = (
            nothing_to_do(job.spec, run_for, decision.reason)
            if done.has_no_input
            else find_job(key, connect.named, connect.cluster)
        )
        print_json({**found.as_json(), "action": decision.action, "action_reason": decision.reason})
    elif decision.action is not Action.DONE:
        say(f"watch it: bottega status --watch {shown}; stop it: bottega cancel {shown}", errors)


def labels_from(labels: Sequence[str]) -> dict[str, str]:
    """Labels by name. Raises SpecError for one that is no k=v."""
    found = {}
    for label in labels:
        name, equals, value = label.partition("=")
        if not (name and equals):
            raise SpecError(f"--label {label!r}: give a name and a value, as --label team=faces.")
        found[name] = value
    return found
