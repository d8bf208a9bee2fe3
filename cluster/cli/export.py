"""`bottega export`: a job, or a dataset, in the form that another tool reads."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from actors.counted import counted
from actors.errors import OutputError
from cluster.console import errors, say
from cluster.kubernetes.cron_job import KUBECTL_IMAGE
from cluster.kubernetes.names import MOST_NAMESPACE
from cluster.schedules.schedule import Missed

app = typer.Typer(
    help="Write a job, or a dataset, in the form that another tool reads.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JobFileArgument = Annotated[Path, typer.Argument(help="A job file (docs/job-file.md).")]
ScheduleOption = Annotated[
    str, typer.Option("--cron", help='When: five fields of cron, as "0 3 * * *".')
]
NIGHTLY = "0 3 * * *"
TimeZoneOption = Annotated[
    str, typer.Option("--time-zone", help="Of --cron: an IANA name, as Europe/Zurich.")
]
SubmitOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="A cluster's, http://head:8265, to submit to. Without: the job runs on this machine.",
    ),
]
ExtendOption = Annotated[
    bool, typer.Option("--extend", help="Go on with an input that only grew at its end.")
]


@app.command()
def cron(
    job_file: JobFileArgument,
    schedule: ScheduleOption = NIGHTLY,
    address: SubmitOption = None,
    extend: ExtendOption = False,
) -> None:
    """Print a line for `crontab -e` that runs a job for each date, one run at a time."""
    from cluster.exports.command import command_of
    from cluster.exports.cron import crontab_line
    from cluster.exports.job_file import check_job_file

    check_job_file(job_file)
    log = job_file.resolve().with_suffix(".log")
    command = command_of(job_file, address, extend)
    _say_note(job_file, extend)
    sys.stdout.write(crontab_line(command, schedule, log) + "\n")


@app.command()
def systemd(
    job_file: JobFileArgument,
    schedule: ScheduleOption = NIGHTLY,
    time_zone: TimeZoneOption = "UTC",
    address: SubmitOption = None,
    extend: ExtendOption = False,
    missed: Annotated[
        Missed, typer.Option("--missed", help="A run whose time passed while the machine was off.")
    ] = Missed.SKIP,
    folder: Annotated[
        Path | None, typer.Option("--to", help="Write both files here, as /etc/systemd/system.")
    ] = None,
) -> None:
    """Print a systemd service and timer that run a job for each date, one run at a time."""
    from cluster.exports import systemd as units
    from cluster.exports.command import command_of
    from cluster.exports.job_file import check_job_file

    name = units.unit_name(check_job_file(job_file).name)
    service = units.service(name, command_of(job_file, address, extend), time_zone)
    timer = units.timer(name, schedule, time_zone, missed is Missed.ONCE)
    _say_note(job_file, extend)
    if folder is None:
        sys.stdout.write(f"{service}\n{timer}")
        return
    try:
        for ending, text in (("service", service), ("timer", timer)):
            (folder / f"{name}.{ending}").write_text(text, encoding="utf-8")
            say(str(folder / f"{name}.{ending}"))
    except OSError as error:
        raise OutputError(f"cannot write to {str(folder)!r}: {error.strerror}.") from error
    say(f"then: systemctl daemon-reload && systemctl enable --now {name}.timer", errors)


@app.command()
def airflow(
    job_file: JobFileArgument,
    address: Annotated[str, typer.Option("--address", help="The cluster's: http://head:8265.")],
    schedule: ScheduleOption = NIGHTLY,
    time_zone: TimeZoneOption = "UTC",
    extend: ExtendOption = False,
    timeout: Annotated[
        str, typer.Option("--timeout", help="Of one try of the task, as 90m or 12h.")
    ] = "24h",
) -> None:
    """Print an Airflow DAG that submits a job for each date and waits for its end."""
    from datetime import date

    from cluster.exports.airflow import dag
    from cluster.exports.command import command_of
    from cluster.exports.job_file import check_job_file
    from jobs.planning.prices import read_duration

    spec = check_job_file(job_file)
    _say_note(job_file, extend)
    sys.stdout.write(
        dag(
            spec.name,
            command_of(job_file, address, extend),
            schedule=schedule,
            time_zone=time_zone,
            timeout_seconds=round(read_duration(timeout, "--timeout")),
            year=date.today().year,
        )
    )


def _say_note(job_file: Path, extend: bool) -> None:
    from cluster.exports.command import note_of

    if note := note_of(job_file, extend):
        say(note, errors)


@app.command()
def prometheus(
    folder: Annotated[Path, typer.Argument(help="Where the files go; it is made.")],
) -> None:
    """Write the configuration and alerts for Prometheus, and the dashboard for Grafana."""
    from cluster.exports.monitoring import write_monitoring

    for file in write_monitoring(folder):
        say(str(file))


@app.command()
def kubernetes(
    job_file: JobFileArgument,
    image: Annotated[str, typer.Option("--image", help="The image of the pods (Dockerfile).")],
    namespace: Annotated[str | None, typer.Option(help="The namespace of every object.")] = None,
    run_for: Annotated[
        str, typer.Option("--for", help="What this run is for, as 2026-11-23.")
    ] = "",
    schedule: Annotated[
        str | None, typer.Option("--cron", help='A CronJob, as "0 3 * * *": a run for each date.')
    ] = None,
    time_zone: TimeZoneOption = "UTC",
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", help="A Secret that becomes environment variables."),
    ] = None,
    claim: Annotated[
        str | None, typer.Option("--claim", help="A volume claim and its place, as data:/data.")
    ] = None,
    spot: Annotated[bool, typer.Option("--spot", help="Workers may be on spot nodes.")] = False,
    student_node: Annotated[
        list[str] | None, typer.Option("--student-node", help="A label of the student's nodes.")
    ] = None,
    teacher_node: Annotated[
        list[str] | None, typer.Option("--teacher-node", help="A label of the teacher's nodes.")
    ] = None,
    worker_memory: Annotated[
        int | None, typer.Option("--worker-memory", help="GiB of a worker's pod.", min=1)
    ] = None,
    gpus: Annotated[str | None, typer.Option("--gpus", help="As in `bottega plan`.")] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", help="Of an input that is not seen here.", min=1)
    ] = None,
    profile: Annotated[Path | None, typer.Option("--profile", help="As in `bottega plan`.")] = None,
    measured: Annotated[
        Path | None, typer.Option("--measured", help="As in `bottega plan`.")
    ] = None,
    kubectl_image: Annotated[
        str, typer.Option("--kubectl-image", help="With --cron: an image with kubectl and sh.")
    ] = KUBECTL_IMAGE,
) -> None:
    """Print a RayJob, or with --cron a CronJob that creates RayJobs, for `kubectl apply -f -`."""
    from cluster.kubernetes.manifests import PlanOptions, manifests
    from cluster.kubernetes.names import check_name, labels_from
    from cluster.kubernetes.ray_job import Wishes, claim_from

    nodes = {
        "student": labels_from(student_node or [], "--student-node"),
        "teacher": labels_from(teacher_node or [], "--teacher-node"),
    }
    made = manifests(
        job_file,
        Wishes(
            image=image,
            namespace=check_name(namespace, "--namespace", MOST_NAMESPACE) if namespace else None,
            secrets=tuple(check_name(name, "--secret") for name in secret or ()),
            claim=claim_from(claim),
            spot=spot,
            node_labels=nodes,
            ray_version=version("ray"),
        ),
        PlanOptions(gpus=gpus, rows=rows, profile=profile, measured=measured),
        run_for=run_for,
        schedule=schedule,
        time_zone=time_zone,
        worker_memory_gib=worker_memory,
        kubectl_image=kubectl_image,
    )
    for note in made.notes:
        say(note, errors)
    sys.stdout.write(made.as_yaml())


OutputArgument = Annotated[str, typer.Argument(help="The output of a finished job: path or URL.")]
TargetArgument = Annotated[str, typer.Argument(help="Where the files go: a folder or a URL.")]


@app.command()
def webdataset(
    folder: OutputArgument,
    target: TargetArgument,
    shard_size: Annotated[
        float, typer.Option("--shard-gb", help="Of a tar, about, in GB.", min=0.001, max=100)
    ] = 1.0,
) -> None:
    """Write a dataset as a WebDataset: tars with a picture and a JSON file for each row."""
    _export("webdataset", folder, target, round(shard_size * 1e9))


@app.command()
def metadata(folder: OutputArgument, target: TargetArgument) -> None:
    """Write a dataset's columns without its pictures, as Parquet."""
    _export("metadata", folder, target, 0)


def _export(form: Literal["webdataset", "metadata"], folder: str, target: str, size: int) -> None:
    from jobs import open_output

    files = made = samples = without = num_bytes = 0
    with errors.status("reading the records") as status:
        for shard in open_output(folder).export(form, target, size, status.update):
            files, made = files + 1, made + shard.made
            samples, without = samples + shard.samples, without + shard.without_picture
            num_bytes += shard.num_bytes
    left_out = f"; {counted(without, 'row')} without a picture left out" if without else ""
    say(
        f"{counted(samples, 'row')} in {counted(files, 'file')}, {num_bytes / 1e6:,.1f} MB, in "
        f"{target}: {made:,} made now{left_out}"
    )
