"""A driver knows from Ray which attempt it is, and how long it may take to stop."""

from __future__ import annotations

import json

import pytest

from cluster.submission.this_attempt import drain_seconds, this_attempt
from jobs.execution.attempt import Attempt


def submitted(submission_id: str, **more: str) -> dict[str, str]:
    metadata = {"job_submission_id": submission_id, "for": "2026-11-23", "label.team": "faces"}
    return {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"metadata": metadata}), **more}


def test_the_attempt_is_in_the_submission() -> None:
    found = this_attempt(environment=submitted("bottega-a-0123456789.3"))
    name = "bottega-a-0123456789"
    assert found == Attempt(name, 3, f"{name}.3", "2026-11-23", {"team": "faces"})
    other = this_attempt(environment=submitted("raysubmit_x"))
    assert (other.job_id, other.number, other.submission_id) == ("", None, "raysubmit_x")
    assert this_attempt("today", {}) == Attempt(run_for="today")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 20.0),
        (submitted("x"), 1.0),
        (submitted("x", RAY_JOB_STOP_WAIT_TIME_S="60"), 20.0),
        (submitted("x", RAY_JOB_STOP_WAIT_TIME_S="a while"), 1.0),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "["}, 20.0),
    ],
)
def test_a_stop_leaves_time_before_ray_kills(environment: dict[str, str], seconds: float) -> None:
    assert drain_seconds(environment) == seconds
