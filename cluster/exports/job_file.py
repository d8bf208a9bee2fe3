"""The job in a job file, for a date or without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs import JobSpec, make_spec
from jobs.job_id import fill_in
from jobs.spec.strict_yaml import read_mapping

SOME_DATE = "2000-01-01"
"""Stands for every date, where a job is only looked at."""


def read_job_file(file: Path, run_for: str = "") -> JobSpec:
    """The spec, with `{for}` and `{date}` filled in. Raises SpecError."""
    return make_spec(fill_in(read_mapping(file), run_for), where=str(file))


def check_job_file(file: Path) -> JobSpec:
    """The spec of a job that is for any date. Raises SpecError."""
    return read_job_file(file, SOME_DATE)


def is_dated(file: Path) -> bool:
    """Whether each date has an output of its own."""
    output: Any = read_mapping(file).get("output")
    return isinstance(output, str) and ("{date}" in output or "{for}" in output)
