"""What came of a dataset, in one line: evaluations, the teacher's gain, and the actors' seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actors.counted import counted
from actors.roles import ROLES
from jobs.output.pages.totals import totals_of, truncated_of
from jobs.output.records import GAIN
from jobs.spec.job_spec import JobSpec


def describe_outcome(job: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> str:
    """The line. job: job.json. What an older version did not record is left out."""
    found = list(records)
    totals = totals_of(found)
    if not totals.pictures:
        return "no row has a picture"
    teacher = JobSpec.model_validate(job["spec"]).models.teacher
    alone = teacher.steps * teacher.evaluations_per_step
    said = [
        f"{totals.mean_nfe:.2f} network evaluations a picture, where the teacher alone takes "
        f"{alone}"
    ]
    if totals.refined and all(GAIN in record for record in found):
        gain = sum(record[GAIN] for record in found) / totals.refined
        said.append(f"the teacher changed a score by {gain:+.3g} on average")
    seconds = sum(record.get("seconds", {}).get(role, 0.0) for record in found for role in ROLES)
    said.append(f"{seconds:,.0f} GPU-seconds (or actor-seconds, on cores) in all")
    said += [
        f"{counted(rows, 'prompt')} longer than the {role} reads"
        for role, rows in truncated_of(found).items()
    ]
    return "; ".join(said)
