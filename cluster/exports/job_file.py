"""The job in a job file, for a date or without one."""

from __future__ import annotations

from pathlib import Path

from jobs import JobSpec, make_spec
from jobs.job_id import fill_in
from jobs.spec.strict_yaml import read_mapping


def read_job_file(file: Path, run_for: str = "") -> JobSpec:
    """The spec, with `{for}` and `{date}` filled in. Raises SpecError."""
    return make_spec(fill_in(read_mapping(file), run_for), where=str(file))
