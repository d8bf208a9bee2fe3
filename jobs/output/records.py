"""Reads job.json and the parts' records back: each has every field, or does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actors.errors import OutputError

JOB_FIELDS = (
    *("name", "identity", "spec", "rows", "threshold", "calibration", "models", "versions"),
)
"""The fields without which a run cannot continue from a job.json."""

RECORD_FIELDS: dict[str, type] = {
    "part": int,
    "first_row": int,
    "rows": int,
    "bytes": int,
    "sha256": str,
    "from_student": int,
    "from_teacher": int,
    "refined": int,
    "failed": int,
    "nfe": int,
}
"""The fields, with their types, without which a record does not count."""


def parse_job(content: bytes, file: Path) -> dict[str, Any]:
    """The job in the content of job.json. Raises OutputError that names `file` for a broken one."""
    try:
        job = json.loads(content)
    except ValueError as error:
        raise OutputError(f"{file} is not JSON ({error}); restore or remove it.") from error
    missing = [name for name in JOB_FIELDS if not isinstance(job, dict) or name not in job]
    if missing:
        raise OutputError(
            f"{file} is not a job of this version: it has no {missing[0]!r}. Restore "
            "it, or choose a new output folder."
        )
    return dict(job)


def describe_calibration(calibration: dict[str, Any]) -> str:
    """The calibration in a job.json, in one line."""
    if not calibration["rows"]:
        return f"{float(calibration['threshold']):.4g}, as the budget says"
    return (
        f"{float(calibration['threshold']):.4g} refines {calibration['refine']:.0%} of "
        f"{calibration['rows']} sampled rows; measured in {calibration['wall_seconds']:.0f} s, "
        "with the start of the actors"
    )


def read_record(file: Path) -> dict[str, Any]:
    """A part's record. Raises ValueError, with the reason, for a file that is none."""
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read ({error})") from error
    if not isinstance(record, dict):
        raise ValueError("it is not a record")
    for name, kind in RECORD_FIELDS.items():
        if type(record.get(name)) is not kind:
            raise ValueError(f"its {name!r} is {record.get(name)!r}")
    if file.name != f"part-{record['part']:08d}.json":
        raise ValueError(f"it is of part {record['part']}")
    return record
