"""`bottega export`: a job, or a dataset, in the form that another tool reads."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from cluster.console import errors, say
from cluster.kubernetes.cron_job import KUBECTL_IMAGE
from cluster.kubernetes.names import MOST_NAMESPACE

app = typer.Typer(
    help="Write a job, or a dataset, in the form that another tool reads.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JobFileArgument = Annotated[Path, typer.Argument(help="A job file (docs/job-file.md).")]
ScheduleOption = Annotated[
    str, typer.Option("--cron", help='When: five fields of cron, as "0 3 * * *".')
]


@app.command()
def cron(job_file: JobFileArgument, schedule: ScheduleOption = "0 3 * * *") -> None:
    """Print a line for `crontab -e` that runs a job, one run at a time."""
    from cluster.exports.command import command_of
    from cluster.exports.cron import crontab_line
    from jobs import load_spec

    load_spec(job_file)
    log = job_file.resolve().with_suffix(".log")
    sys.stdout.write(crontab_line(command_of(job_file), schedule, log) + "\n")


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
    time_zone: Annotated[str, typer.Option(help="Of --cron, as Europe/Zurich.")] = "UTC",
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
    left_out = f"; {without:,} rows have no picture and are left out" if without else ""
    say(
        f"{samples:,} rows in {files:,} files, {num_bytes / 1e6:,.1f} MB, in {target}: {made:,} "
        f"made now{left_out}"
    )
