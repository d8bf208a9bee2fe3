"""Which attempt this process is, if Ray's Jobs API or a RayJob started it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jobs.job_id import PREFIX, split_attempt

if TYPE_CHECKING:
    from jobs.execution.attempt import Attempt

CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray's: the metadata of the submission, for the driver."""

STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Ray's: the seconds between SIGTERM and SIGKILL."""

RAYS_STOP_SECONDS = 3.0
"""Without that variable."""

STOP_SECONDS = 60
"""What Ray waits between SIGTERM and SIGKILL; 3 s by default. A job may take 20 s to commit what is
decided (jobs/execution/dispatcher.py), and some to end."""

LABEL = "label."
"""Before a label's name in the metadata of a submission."""


def this_attempt(run_for: str = "", environment: Mapping[str, str] = os.environ) -> Attempt:
    """The attempt that this process is; that of a person at a terminal has no submission."""
    from jobs.execution.attempt import Attempt

    metadata = _metadata(environment)
    submission = metadata.get("job_submission_id", "")
    run_for = run_for or metadata.get("for", "")
    labels = {
        name.removeprefix(LABEL): value
        for name, value in metadata.items()
        if name.startswith(LABEL)
    }
    if not submission.startswith(f"{PREFIX}-"):
        return Attempt(submission_id=submission, run_for=run_for, labels=labels)
    job, number = split_attempt(submission)
    return Attempt(job, number, submission, run_for, labels)


def drain_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """How long this process may commit what is decided, once it is asked to stop.

    A third of what Ray waits before it kills: then the actors, the status and Ray have to end.
    """
    from jobs.execution.attempt import DRAIN_SECONDS

    if not _metadata(environment):
        return DRAIN_SECONDS
    try:
        wait = float(environment.get(STOP_WAIT, RAYS_STOP_SECONDS))
    except ValueError:
        wait = RAYS_STOP_SECONDS
    return min(DRAIN_SECONDS, wait / 3)


def _metadata(environment: Mapping[str, str]) -> dict[str, str]:
    try:
        config = json.loads(environment.get(CONFIG) or "{}")
        return {str(name): str(value) for name, value in config.get("metadata", {}).items()}
    except (ValueError, AttributeError):
        return {}
