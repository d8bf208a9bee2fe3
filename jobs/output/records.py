"""Reads the parts' records back: each has every field, or does not count."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from math import isinf
from typing import Any

from jobs.output.score_columns import FLAGGED
from jobs.spec.ladder import by_attempt
from jobs.spec.sample import refined_interval

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

UNREFINABLE = "kept_after_failed_refinement"
"""The field of a record that counts the rows of which the teacher made no picture, so that they
keep the student's. Only in records that have such rows."""


RUNGS = "rungs"
"""The field of a record that counts, by rung of a job's ladder, the rows that took it. Only in
records of jobs with a ladder."""

DEVICES = "devices"
"""The field of a record with the kinds of devices that computed its rows, by pool."""

TRUNCATED = "truncated"
"""The field of a record that counts, by role, the rows whose prompts were longer than it reads."""

GAIN = "gain"
"""The field of a record with the sum of what the teacher gained over the student, in the oracle's
scores of the refined rows; older records have none."""

MADE_BY = ("from_student", "from_teacher", "failed")
"""Each row of a part is counted in one of these."""

MOST = 2**63 - 1
"""Of any count, byte or second: what Parquet's integers hold."""


def describe_calibration(calibration: dict[str, Any], num_rows: int) -> str:
    """The calibration in a job.json of `num_rows`, in one line."""
    threshold, rows, refine = (calibration[name] for name in ("threshold", "rows", "refine"))
    if not rows:
        return f"{float(threshold):.4g}, as the budget says"
    found = f"{float(threshold):.4g} refines {refine:.1%} of {rows:,} sampled rows"
    if "thresholds" in calibration:
        each = ", ".join(f"{float(one):.4g}" for one in calibration["thresholds"])
        found = f"{each} try {refine:.1%} of {rows:,} sampled rows again"
    if not isinf(float(threshold)):
        low, high = refined_interval(refine, rows, num_rows)
        found += f", and so {low:.1%} to {high:.1%} of all (95% interval)"
    return f"{found}; measured in {calibration['wall_seconds']:.0f} s, with the start of the actors"


def attempts_of(records: Iterable[Mapping[str, Any]]) -> str:
    """How many rows took each rung of a ladder, in words."""
    counts: list[int] = []
    for record in records:
        for number, rows in enumerate(record.get(RUNGS, [])):
            counts += [0] * (number + 1 - len(counts))
            counts[number] += rows
    return by_attempt(counts)


def parse_record(content: bytes, file: str) -> dict[str, Any]:
    """A part's record, of the content of a file. Raises ValueError, with the reason, for none.

    file: its name, without its folder.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read ({error})") from error
    return checked_record(record, file)


def checked_record(record: Any, file: str) -> dict[str, Any]:
    """The same of what JSON says."""
    if not isinstance(record, dict):
        raise ValueError("it is not a record")
    for name, kind in RECORD_FIELDS.items():
        value = record.get(name)
        if not (_is_count(value) if kind is int else isinstance(value, kind)):
            raise ValueError(f"its {name!r} is {_short(value)}")
    for name in (UNREFINABLE, "failed_calls"):
        if name in record and not _is_count(record[name]):
            raise ValueError(f"its {name!r} is {_short(record[name])}")
    if file != f"part-{record['part']:08d}.json":
        raise ValueError(f"it is of part {record['part']}")
    if not _SHA256.fullmatch(record["sha256"]):
        raise ValueError(f"its 'sha256' is {_short(record['sha256'])}")
    rows, made = record["rows"], sum(record[name] for name in MADE_BY)
    if not rows or made != rows or record["refined"] > rows:
        raise ValueError(f"it has {rows} rows, of which {made} have a source or failed")
    for name, is_valid in BY_NAME.items():
        if name not in record:
            continue
        values = record[name]
        if not isinstance(values, dict) or not all(map(is_valid, values.values())):
            raise ValueError(f"its {name!r} is {_short(values)}")
    if type(record.get(GAIN, 0)) not in (int, float):
        raise ValueError(f"its {GAIN!r} is {_short(record[GAIN])}")
    if RUNGS in record:
        rungs = record[RUNGS]
        if not isinstance(rungs, list) or not all(_is_count(one) and one <= rows for one in rungs):
            raise ValueError(f"its {RUNGS!r} is {_short(rungs)}")
    return record


_SHA256 = re.compile("[0-9a-f]{64}")


def _is_duration(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= MOST


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


BY_NAME = {
    "seconds": _is_duration,
    "calls": _is_count,
    "padded_rows": _is_count,
    DEVICES: _are_names,
    TRUNCATED: _is_count,
    FLAGGED: _is_count,
}
"""Fields that hold a value for each pool, or for each filter, where a record has them."""


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
