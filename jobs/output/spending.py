"""Compares the cost of a job's pictures with its budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actors.roles import ROLES
from jobs.output.pages.totals import totals_of
from jobs.output.records import attempts_of
from jobs.spec.job_spec import JobSpec


def describe_spending(job: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> str:
    """The spending on the finished parts, in the unit of the job's budget, in one line.

    job: job.json. A mean over the rows that have a picture: the calibration leaves failed rows out.
    """
    found, spec = list(records), JobSpec.model_validate(job["spec"])
    budget = spec.budget
    totals = totals_of(found)
    pictures = totals.pictures
    if not pictures:
        return "no row has a picture"
    if spec.ladder is not None:
        return (
            f"{totals.mean_nfe:.2f} network evaluations a picture; rows took {attempts_of(found)}"
        )
    refined = (totals.refined + totals.kept_after_failed_refinement) / pictures
    if budget.refine is not None:
        return f"{refined:.1%} of the pictures refined, of a budget of {budget.refine:.4g}"
    if budget.nfe is not None:
        return f"{totals.mean_nfe:.2f} network evaluations a picture, of a budget of {budget.nfe:g}"
    if budget.gpu_seconds is not None:
        seconds = sum(
            record.get("seconds", {}).get(role, 0.0) for record in found for role in ROLES
        )
        return (
            f"{seconds / pictures:.3g} actor-seconds a picture, of a budget of "
            f"{budget.gpu_seconds:g}; {refined:.1%} of the pictures refined"
        )
    return f"{refined:.1%} of the pictures refined; the budget is a threshold"
