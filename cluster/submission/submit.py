"""Submits a job: starts it, attaches to the driver that is at it, or finds that it is done."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from actors.errors import ClusterError, InputError, NoInputError
from cluster.submission.decision import Action, Decision, Request, Work, decide
from cluster.submission.find import state_of
from cluster.submission.this_attempt import LABEL
from cluster.submission.travel import JOB_FILE, Luggage, Sees, pack
from jobs import JobSpec
from jobs.held_job import differing_fields, input_differs
from jobs.input.discovery import find_files
from jobs.job_id import absolute, job_id
from jobs.spec.gpu_limits import check_gpus

if TYPE_CHECKING:
    from cluster.submission.ray_jobs import RayJobs

MOST_TRIES = 3
"""At an attempt's id. Whoever is first has it; then there is a driver to attach to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobToSubmit:
    """A job as it is to be submitted. `fields`: of the job file, with the options in their places.

    `beside`: the job file's folder. `shared`: folders that every node of the cluster mounts.
    `options`: more of the command that the driver runs.
    """

    fields: Mapping[str, Any]
    spec: JobSpec
    beside: Path
    shared: tuple[str, ...] = ()
    work: Work = "run"
    extend: bool = False
    run_for: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The job's id. A calibration writes no output, and is a job of its own."""
        return job_id(self.spec, "calibrate" if self.work == "calibrate" else self.run_for)

    @property
    def output(self) -> str:
        """The output, as all that compares outputs writes it."""
        return absolute(self.spec.output)


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a submit came to. `luggage`: what travelled, where an attempt was started.
    `has_no_input`: there is no job, since nothing came in."""

    decision: Decision
    luggage: Luggage | None = None
    has_no_input: bool = False


def submit(job: JobToSubmit, connect: Callable[[], RayJobs]) -> Submitted:
    """Do what the table in `cluster.submission.decision` says.

    connect: to the cluster; not called where the output alone says that there is nothing to do.
    """
    if nothing := _nothing_to_do(job):
        return Submitted(Decision(Action.DONE, nothing), has_no_input=True)
    check_gpus(job.spec)
    request = Request(job.id, job.work, job.extend, job.spec.after.steps)
    output = None if job.work == "calibrate" else state_of(job.output)
    differs = differing_fields(job.spec, job.output) if output else []
    alone = decide(request, (), output, differs)
    if (
        alone.action is Action.DONE
        and not job.extend
        and (grew := input_differs(job.spec, job.output))
    ):
        return Submitted(Decision(Action.REFUSE, grew))
    if alone.action in (Action.DONE, Action.REFUSE):
        return Submitted(alone)
    jobs = connect()
    for _ in range(MOST_TRIES):
        everything = jobs.all()
        decision = decide(
            request,
            [one for one in everything if one.job_id == request.job_id],
            output,
            differs,
            [
                one
                for one in everything
                if one.job_id != request.job_id
                and one.metadata.get("output") == job.output
                and one.metadata.get("work") != "calibrate"
            ],
        )
        if decision.action is not Action.START:
            return Submitted(decision)
        luggage = _start(job, decision.submission_id, jobs)
        if luggage is not None:
            return Submitted(decision, luggage)
    raise ClusterError(
        f"{decision.submission_id} is used on this cluster, and it does not list it. An attempt "
        "that was deleted there keeps its id: change the job's name, or give --for."
    )


def _nothing_to_do(job: JobToSubmit) -> str:
    """Why there is nothing to do, where the job file lets a night be without news; empty if there
    is something, or if it cannot be seen from here."""
    if job.work != "run" or job.spec.missing_input != "skip":
        return ""
    try:
        find_files(job.spec.input)
    except NoInputError as error:
        return f"nothing to do: {error}".rstrip(".")
    except InputError:
        return ""
    return ""


def _start(job: JobToSubmit, submission_id: str, jobs: RayJobs) -> Luggage | None:
    """Start an attempt; None if somebody else has just started it."""
    metadata = {
        "bottega": version("bottega"),
        "name": job.spec.name,
        "output": job.output,
        "work": job.work,
        "for": job.run_for,
        **{LABEL + name: value for name, value in job.labels.items()},
    }
    # Without `exec` the shell would be between Ray's signals and the driver.
    entrypoint = f"exec {shlex.join(['bottega', job.work, JOB_FILE, *job.options])}"
    with TemporaryDirectory(prefix="bottega-") as folder:
        luggage = pack(job.fields, job.beside, Path(folder), _sees(jobs, job.shared))
        started = jobs.submit(submission_id, entrypoint, Path(folder), metadata)
    return luggage if started else None


def _sees(jobs: RayJobs, shared: Sequence[str]) -> Sees:
    """Which paths of this machine every node sees: all, if it is the cluster; or those in folders
    that all mount."""
    if jobs.is_here():
        return lambda _path: True
    folders = [Path(folder).expanduser().absolute() for folder in shared]
    return lambda path: any(path.is_relative_to(folder) for folder in folders)
