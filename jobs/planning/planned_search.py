"""What a search for a ladder will take, before it is made: arithmetic alone."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.refinement import as_planned
from jobs.spec.job_spec import JobSpec
from jobs.spec.ladder import describe_attempt
from jobs.spec.ladder_search import QUANTILES, Asked, asked_by, every_attempt, tried_for
from jobs.spec.sample import sample_size


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """A search that the calibration will make.

    `rows`: of the sample, of which each is drawn `drawings` times, and about half are made by the
    teacher in each of the `ways`, in words. `evaluations`: of networks, in all.
    """

    asked: Asked
    rows: int
    drawings: int
    ways: tuple[str, ...]
    evaluations: float


def planned_search(spec: JobSpec, num_rows: int) -> PlannedSearch | None:
    """Of a job with so many rows; None for a job that asks for none."""
    if (asked := asked_by(spec)) is None:
        return None
    tried, every = tried_for(spec), every_attempt(spec)
    student, teacher = spec.models.student, spec.models.teacher
    drawn = tried.drawings * student.steps * student.evaluations_per_step
    made = sum(one.steps for one in as_planned(every)) * teacher.evaluations_per_step
    rows = sample_size(spec.calibration_rows, num_rows)
    return PlannedSearch(
        asked=asked,
        rows=rows,
        drawings=tried.drawings,
        ways=tuple(describe_attempt(rung) for rung in tried.ladder[1:]),
        evaluations=rows * (drawn + max(QUANTILES) * made),
    )
