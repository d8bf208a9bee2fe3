"""`bottega status`, `list`, `logs`, `wait` and `cancel`: of jobs that run on a cluster."""

from __future__ import annotations

import json
import socket
import sys
from typing import Annotated

import typer

from actors.errors import ClusterError, UserError
from cluster.cli.follow import DETACHED, follow_to_the_end
from cluster.cli.options import (
    ClusterOption,
    JsonOption,
    ProfileOption,
    StrictRowsOption,
    TimeoutOption,
)
from cluster.cli.submit import labels_from
from cluster.console import console, errors, log_to_stderr, print_json, say
from cluster.profiles import load_profile
from cluster.submission.connect import Connect, connect_to
from cluster.submission.find import FoundJob, find_job, list_jobs
from cluster.submission.follow import ENDING_SECONDS, WaitedTooLong, Watch, follow
from cluster.submission.local_driver import stop_driver
from cluster.submission.this_attempt import STOP_SECONDS
from cluster.views.jobs import JobsView, describe, table
from jobs.output.status import SCHEMA, State


def _ids(incomplete: str) -> list[str]:
    """For the shell: the ids that the cluster knows; none where it does not respond."""
    try:
        found = connect_to(None, load_profile(None)).cluster().all()
    except UserError:
        return []
    return sorted({one.job_id for one in found if one.job_id.startswith(incomplete)})


HELP = "A job's id, its name, or its output's folder or URL."
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help=HELP, autocompletion=_ids)]
JobsArgument = Annotated[
    list[str], typer.Argument(metavar="JOB...", help=HELP, autocompletion=_ids)
]


def status(
    job: JobArgument,
    watch: Annotated[bool, typer.Option("--watch", help="The live view, until it ends.")] = False,
    address: ClusterOption = None,
    profile: ProfileOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """Say how a job stands. An output says it without the cluster. Exits by the job's state."""
    log_to_stderr()
    connect = connect_to(address, load_profile(profile))
    found = find_job(job, connect.named, connect.cluster)
    if watch:
        try:
            with JobsView(console) as view:
                found = follow(Watch(job, connect), view)
        except KeyboardInterrupt:
            raise typer.Exit(DETACHED) from None
    if json_wanted:
        print_json(found.as_json())
    else:
        for text in describe(found):
            say(text)
    raise typer.Exit(found.exit_code)


def list_(
    ended: Annotated[bool, typer.Option("--all", "-a", help="Those that have ended, too.")] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="Only with this label, as team=faces.")
    ] = None,
    address: ClusterOption = None,
    profile: ProfileOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """List the jobs of a cluster."""
    log_to_stderr()
    connect = connect_to(address, load_profile(profile))
    found = list_jobs(connect.cluster(), ended, labels_from(label or ()))
    if json_wanted:
        print_json([job.as_json() for job in found])
    elif found:
        console.print(table(found))
    else:
        which = "knows no job" if ended else "runs no job; -a lists those that have ended"
        say(f"the cluster {which}", errors)


def logs(
    job: JobArgument,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", min=0, help="Only the last lines.")] = None,
    address: ClusterOption = None,
    profile: ProfileOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """Print what a job's driver has logged. With --json and -f: JSON Lines."""
    log_to_stderr()
    connect = connect_to(address, load_profile(profile))
    found = find_job(job, connect.cluster, connect.cluster)
    if found.submission is None:
        raise ClusterError(
            f"{job!r} has no log on this cluster: its driver was no job of it, or the cluster was "
            "started anew since. `bottega status` says how it ended."
        )
    name, jobs = found.submission.submission_id, connect.cluster()
    if follow_on:
        try:
            for chunk in jobs.follow_logs(name):
                for text in chunk.splitlines():
                    _print_line(name, text, json_wanted)
        except KeyboardInterrupt:
            raise typer.Exit(DETACHED) from None
        return
    lines = jobs.logs(name).splitlines()
    lines = lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]
    if json_wanted:
        print_json({"schema": SCHEMA, "id": found.id, "submission_id": name, "lines": lines})
    else:
        for text in lines:
            say(text)


def _print_line(submission_id: str, text: str, as_json: bool) -> None:
    if as_json:
        content = {"schema": SCHEMA, "submission_id": submission_id, "line": text}
        sys.stdout.write(json.dumps(content) + "\n")
        sys.stdout.flush()
    else:
        say(text)


def wait(
    jobs: JobsArgument,
    timeout: TimeoutOption = None,
    strict_rows: StrictRowsOption = False,
    address: ClusterOption = None,
    profile: ProfileOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """Wait until jobs have ended; exits with 0 only if every one of them is done."""
    log_to_stderr()
    connect = connect_to(address, load_profile(profile))
    follow_to_the_end(jobs, connect, timeout, strict_rows, json_wanted)


def cancel(
    jobs: JobsArgument,
    now: Annotated[
        bool, typer.Option("--now", help="Kill it: what is decided is not committed first.")
    ] = False,
    address: ClusterOption = None,
    profile: ProfileOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """Stop jobs: they open nothing new and commit what is decided. Finished parts stay safe."""
    log_to_stderr()
    connect = connect_to(address, load_profile(profile))
    ended = [_cancelled(job, now, connect) for job in jobs]
    if json_wanted:
        print_json(ended[0].as_json() if len(ended) == 1 else [one.as_json() for one in ended])
    if any(one.state.is_active for one in ended):
        raise typer.Exit(1)


def _cancelled(job: str, now: bool, connect: Connect) -> FoundJob:
    found = find_job(job, connect.named, connect.cluster)
    if not found.state.is_active:
        say(f"{found.name}: nothing to cancel, it is {found.state}", errors)
        return found
    _stop(found, now, connect)
    look = Watch(job, connect)
    try:
        with JobsView(errors) as view:
            found = follow(look, view, 2 * STOP_SECONDS, look_seconds=ENDING_SECONDS)
    except WaitedTooLong:
        say(f"{found.name}: it was asked to stop, and has not ended yet", errors)
        return look()
    reason = found.standing.reason if found.state is State.CANCELLED else f"it is {found.state}"
    say(f"{found.name}: {reason}", errors)
    return found


def _killed_here(found: FoundJob) -> bool:
    """Kill a driver of this machine, and say whether that was it: a job on the head that does the
    same takes Ray two seconds to start."""
    if found.status is None or found.status.host != socket.gethostname():
        return False
    try:
        stop_driver(found.status, now=True)
    except ClusterError:
        return False
    return True


def _stop(found: FoundJob, now: bool, connect: Connect) -> None:
    """Ask Ray to stop the driver, or the driver itself where it is no job of a cluster."""
    if found.submission is not None and found.submission.is_active:
        jobs = connect.cluster()
        jobs.stop(found.submission.submission_id)
        if now and not _killed_here(found):
            jobs.kill(found.submission)
        return
    status = found.status
    if status is None or status.host != socket.gethostname():
        where = f"process {status.pid} on {status.host}" if status else "a driver elsewhere"
        raise ClusterError(
            f"{found.name} is run by {where}, which is no job of this cluster. Stop it there, or "
            "give the --address of the cluster that runs it."
        )
    stop_driver(status, now)
