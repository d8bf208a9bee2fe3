"""The attempt at a job that a driver is: who started it, and how long its end may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DRAIN_SECONDS = 20.0
"""After a stop, the longest wait for the files of rows that are decided. Kubernetes kills a pod
after 30 s, and the actors and Ray take some to end."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who runs the job. `number`: None for one more than the output's last of the same job.

    `job_id`: empty for the id that follows from the job. `submission_id`: of a Ray job.
    """

    job_id: str = ""
    number: int | None = None
    submission_id: str = ""
    run_for: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
