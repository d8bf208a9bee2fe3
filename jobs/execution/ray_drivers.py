"""Whether a driver lives, as Ray knows it: of a killed one within a second."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError


def number_of_this_driver() -> str:
    """By which `driver_lives` knows it, on every node."""
    return str(ray.get_runtime_context().get_job_id())


def driver_lives(ray_job: str) -> bool:
    """Whether the driver with Ray's number is connected; True where Ray does not respond."""
    worker: Any = ray._private.worker.global_worker  # there is no public way
    try:
        found = worker.gcs_client.get_all_job_info(
            job_or_submission_id=ray_job,
            skip_submission_job_info_field=True,
            skip_is_running_tasks_field=True,
        )
    except RayError:
        return True
    return any(not info.is_dead for job, info in found.items() if job.hex() == ray_job)
