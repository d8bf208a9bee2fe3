"""`bottega schedule`: jobs that are submitted for each date, for those who have no scheduler."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from actors.counted import counted
from actors.errors import SpecError
from cluster.cli.options import JsonOption, LogFormatOption
from cluster.console import LogFormat, console, errors, log_to_console, print_json, say
from cluster.schedules.schedule import Missed, Schedule, next_time
from cluster.schedules.store import Run, Store

app = typer.Typer(
    help="Submit jobs for each date: schedules, their runs, and the server that starts them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A schedule.")]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="The file of the schedules. Default: in the user's folder."),
]
SCHEMA = 1
"""Of `--json`."""

NAME = re.compile(r"[a-zA-Z0-9][\w.-]{0,99}", re.ASCII)


def store_of(file: Path | None) -> Store:
    """The store in a file, or the user's own."""
    return Store(file or Path(typer.get_app_dir("bottega")) / "schedules.sqlite")


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@app.command()
def add(
    name: NameArgument,
    job_file: Annotated[Path, typer.Argument(help="A job file; {date} in its output.")],
    cron: Annotated[str, typer.Option("--cron", help='Five fields of cron, as "0 3 * * *".')],
    time_zone: Annotated[
        str, typer.Option("--timezone", help="An IANA name, as Europe/Zurich.")
    ] = "UTC",
    missed: Annotated[
        Missed, typer.Option("--missed", help="A time that passed while nobody served it.")
    ] = Missed.SKIP,
    late: Annotated[str, typer.Option("--late", help="A run may start so late: 90m, 6h.")] = "1h",
    extend: Annotated[
        bool, typer.Option("--extend", help="Go on with an input that only grew at its end.")
    ] = False,
    address: Annotated[
        str | None, typer.Option("--address", help="The cluster's: http://head:8265.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="A profile (docs/cluster.md).")
    ] = None,
    shared: Annotated[
        list[str] | None, typer.Option("--shared", help="As of `bottega submit`.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Add a schedule; `bottega schedule serve` starts its runs."""
    from cluster.exports.command import note_of
    from cluster.exports.job_file import check_job_file
    from cluster.exports.schedule import check_schedule, check_time_zone
    from jobs.planning.prices import read_duration

    check_schedule(cron)
    check_time_zone(time_zone)
    check_job_file(job_file)
    if not NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} is no name of a schedule: it has letters, digits, dots, dashes and "
            "underscores, and begins with a letter or a digit."
        )
    options = [
        *(["--extend"] if extend else []),
        *(["--address", address] if address else []),
        *(["--profile", profile] if profile else []),
        *(word for folder in shared or () for word in ("--shared", folder)),
    ]
    schedule = Schedule(
        name=name,
        job_file=str(job_file.resolve()),
        folder=str(Path.cwd()),
        cron=cron,
        time_zone=time_zone,
        missed=missed,
        late_seconds=read_duration(late, "--late"),
        options=tuple(options),
        served_until=now(),
    )
    store_of(store).add(schedule)
    if note := note_of(job_file, extend):
        say(note, errors)
    say(f"{name}: {_coming(schedule)}")


@app.command("list")
def list_(store: StoreOption = None, json_wanted: JsonOption = False) -> None:
    """List the schedules, with their next time and last run."""
    opened = store_of(store)
    found = [(schedule, opened.runs(schedule.name)) for schedule in opened.all()]
    if json_wanted:
        print_json([_as_json(schedule, runs[:1]) for schedule, runs in found])
        return
    shown = Table(box=None, pad_edge=False)
    for heading in ("schedule", "cron", "time zone", "next", "last run", "state"):
        shown.add_column(heading)
    for schedule, runs in found:
        last = (runs[0].run_for, runs[0].state.value) if runs else ("", "")
        words = (schedule.name, schedule.cron, schedule.time_zone, _coming(schedule), *last)
        shown.add_row(*map(escape, words))
    console.print(shown)


@app.command()
def show(name: NameArgument, store: StoreOption = None, json_wanted: JsonOption = False) -> None:
    """Show a schedule in full."""
    opened = store_of(store)
    schedule, runs = opened.get(name), opened.runs(name)[:1]
    found = _as_json(schedule, runs)
    if json_wanted:
        print_json(found)
        return
    for field, value in found.items():
        if field not in ("schema", "runs"):
            say(f"{field}: {value}")
    for run in runs:
        say(f"last run: {run.run_for}, {run.state.value}{_reason(run)}")


@app.command()
def suspend(name: NameArgument, store: StoreOption = None) -> None:
    """Start no run of a schedule until it is resumed; a run that goes on goes on."""
    _suspend(store_of(store), name, True)


@app.command()
def resume(name: NameArgument, store: StoreOption = None) -> None:
    """Start runs again; times that passed meanwhile are not made up for."""
    _suspend(store_of(store), name, False)


@app.command()
def trigger(
    name: NameArgument,
    run_for: Annotated[
        str, typer.Option("--for", help="What the run is for. Default: today, or now.")
    ] = "",
    store: StoreOption = None,
) -> None:
    """Submit a run at once; its times do not move, and a run that is there is attached to."""
    from cluster.exports.job_file import read_job_file
    from cluster.schedules.server import Server
    from cluster.schedules.submitting import CommandJobs
    from jobs.job_id import job_id

    opened = store_of(store)
    schedule = opened.get(name)
    moment = now()
    run_for = run_for or schedule.run_for(moment)
    # What no later try would mend is refused, and not noted as a run that is still to be submitted.
    job_id(read_job_file(Path(schedule.job_file), run_for), run_for)
    run = opened.trigger(schedule, run_for, moment)
    Server(opened, CommandJobs(), now).submit(schedule, run)
    (run,) = [each for each in opened.runs(name) if each.run_for == run.run_for]
    say(_line(run))
    if not run.job:
        raise typer.Exit(1)


@app.command()
def remove(name: NameArgument, store: StoreOption = None) -> None:
    """Take a schedule and its history away; its datasets and jobs stay."""
    store_of(store).remove(name)
    say(f"{name}: removed")


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(help="A schedule; all without.")] = None,
    store: StoreOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """List runs, the latest first: what for, how they ended, and the jobs' ids."""
    opened = store_of(store)
    if name is not None:
        opened.get(name)
    runs = opened.runs(name)
    if json_wanted:
        print_json([{"schema": SCHEMA, **_run_as_json(run)} for run in runs])
        return
    for run in runs:
        say(_line(run))


@app.command()
def serve(store: StoreOption = None, log_format: LogFormatOption = LogFormat.TEXT) -> None:
    """Submit what is due, in the foreground, until SIGTERM or Ctrl-C; the jobs go on."""
    import signal
    from threading import Event

    from cluster.schedules.server import Server
    from cluster.schedules.submitting import CommandJobs

    log_to_console(True, log_format)
    opened, over = store_of(store), Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with opened.only_server():
        say(f"serving {counted(len(opened.all()), 'schedule')} of {opened.file}")
        Server(opened, CommandJobs(), now).serve(over.wait)
    say("no run is started any more; those that were go on")


def _suspend(store: Store, name: str, suspended: bool) -> None:
    from dataclasses import replace

    schedule = replace(store.get(name), suspended=suspended)
    if not suspended:
        schedule = replace(schedule, served_until=now())
    store.change(schedule)
    say(f"{name}: {_coming(schedule)}")


def _coming(schedule: Schedule) -> str:
    if schedule.suspended:
        return "suspended"
    coming = next_time(schedule, now())
    return f"next at {_local(schedule, coming)}" if coming else "no time is left"


def _local(schedule: Schedule, time: datetime) -> str:
    from zoneinfo import ZoneInfo

    return time.astimezone(ZoneInfo(schedule.time_zone)).strftime("%Y-%m-%d %H:%M %Z")


def _line(run: Run) -> str:
    stands = " ".join(filter(None, (run.state.value, run.job)))
    return f"{run.schedule}, {run.run_for}: {stands}{_reason(run)}"


def _reason(run: Run) -> str:
    again = f"submitted again {counted(run.submitted_again, 'time')}"
    again = again if run.submitted_again else ""
    words = "; ".join(filter(None, (again, run.reason)))
    return f" ({words})" if words else ""


def _as_json(schedule: Schedule, runs: list[Run]) -> dict[str, Any]:
    coming = next_time(schedule, now())
    return {
        "schema": SCHEMA,
        "name": schedule.name,
        "job_file": schedule.job_file,
        "folder": schedule.folder,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "missed": schedule.missed.value,
        "late_seconds": schedule.late_seconds,
        "options": list(schedule.options),
        "suspended": schedule.suspended,
        "next_at": _utc(coming) if coming else None,
        "runs": [_run_as_json(run) for run in runs],
    }


def _run_as_json(run: Run) -> dict[str, Any]:
    return {
        "schedule": run.schedule,
        "run_for": run.run_for,
        "due_at": _utc(run.due_at),
        "state": run.state.value,
        "reason": run.reason,
        "job": run.job or None,
        "submitted_again": run.submitted_again,
        "changed_at": _utc(run.changed_at),
    }


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
