"""From a job file to what `kubectl apply` takes: the objects of one run, or of a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from actors.errors import BottegaError, SpecError
from cluster.exports.job_file import read_job_file
from cluster.exports.schedule import check_schedule, check_time_zone
from cluster.kubernetes.cron_job import cron_job
from cluster.kubernetes.names import cron_name
from cluster.kubernetes.ray_job import (
    Wishes,
    check_hooks,
    check_reachable,
    config_map,
    deadline_seconds,
    ray_job,
)
from cluster.kubernetes.to_yaml import to_yaml
from cluster.kubernetes.worker_groups import needs_sizes, worker_groups
from jobs import Forecast, JobSpec, plan
from jobs.job_id import job_id

MOST_JOB_FILE = 900_000
"""Bytes: a ConfigMap holds a MiB, with its own names and the RayJob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What `bottega plan` would take: where the job file does not say how many actors there are."""

    gpus: str | None = None
    rows: int | None = None
    profile: Path | None = None
    measured: Path | None = None


@dataclass(frozen=True, slots=True)
class Manifests:
    """The objects, and sentences for the person who applies them."""

    objects: list[dict[str, Any]]
    notes: tuple[str, ...]

    def as_yaml(self) -> str:
        """The objects as documents of one file."""
        return to_yaml(self.objects)


def manifests(
    job_file: Path,
    wishes: Wishes,
    planned: PlanOptions,
    *,
    run_for: str = "",
    schedule: str | None = None,
    time_zone: str = "UTC",
    worker_memory_gib: int | None = None,
    kubectl_image: str,
) -> Manifests:
    """The objects of a job: of one run, or with a `schedule` of a CronJob. Raises SpecError."""
    content = job_file.read_text(encoding="utf-8") if job_file.is_file() else ""
    if schedule is not None:
        check_schedule(schedule)
        check_time_zone(time_zone)
        if run_for:
            raise SpecError("--for names one run, and --cron makes one for each date. Give one.")
        run_for = date.today().isoformat()  # stands for each of them
    spec = read_job_file(job_file, run_for)
    if len(content.encode()) > MOST_JOB_FILE:
        raise SpecError(f"{job_file}: a ConfigMap holds {MOST_JOB_FILE:,} bytes of a job file.")
    places = {"input": spec.input, "output": spec.output}
    if spec.after.publish:
        places["after.publish.to"] = spec.after.publish.to
    check_reachable(places, wishes.claim)
    check_hooks(spec)
    forecast, notes = _forecast(spec, planned)
    sizes = dict(forecast.plan.timeline[0].sizes) if forecast else {}
    groups = worker_groups(spec, sizes, worker_memory_gib)
    deadline = None
    if forecast:
        seconds = forecast.plan.ready_seconds + forecast.plan.wall_seconds
        deadline = deadline_seconds(seconds, spec.place_timeout_seconds)
    job = job_id(spec, run_for)
    name = job if schedule is None else cron_name(spec.name)
    made = ray_job(job, groups, wishes, config=name, run_for=run_for, deadline=deadline)
    if schedule is None:
        return Manifests([config_map(name, content, wishes), made], notes)
    objects = cron_job(
        name, content, made, wishes,
        schedule=schedule, time_zone=time_zone, kubectl_image=kubectl_image,
    )  # fmt: skip
    return Manifests(objects, notes)


def _forecast(spec: JobSpec, planned: PlanOptions) -> tuple[Forecast | None, tuple[str, ...]]:
    """The plan, and what to say of it; None where there can be none and the job needs none."""
    try:
        found = plan(
            spec,
            gpus=planned.gpus,
            rows=planned.rows,
            profile=planned.profile,
            measured=planned.measured,
        )
    except BottegaError as error:
        if needs_sizes(spec):
            raise SpecError(
                f"how many pods? There is no plan ({str(error).rstrip('.')}). Give "
                "pools.student.size and pools.teacher.size in the job file, or pools.grow with "
                "max_size, or what a plan needs: --rows, and --measured or --profile."
            ) from error
        reason = str(error).rstrip(".")
        return None, (f"no activeDeadlineSeconds, since there is no plan: {reason}.",)
    hours = found.plan.wall_seconds / 3600
    return found, (f"planned: {hours:.1f} h on {found.plan.gpus}",)
