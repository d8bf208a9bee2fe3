"""A part's record, as it is read back: whole and of its part, or none at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
"""What a record must have to count."""


def read_record(file: Path) -> dict[str, Any]:
    """A part's record. Raises ValueError, with the reason, for what is none."""
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
