"""Reads small CSV tables that people write; names the file and the line of every mistake."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from actors.errors import SpecError


def read_table(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file as (file and line, value by column); lines with # are remarks.

    Other columns are left out. Raises SpecError for a file that cannot be read, or lacks a column.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the table {str(file)!r} cannot be read: {error}.") from error
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [(n, line) for n, line in lines if not line.startswith("#")]
    rows = csv.DictReader(line for _, line in lines)
    missing = [name for name in columns if name not in (rows.fieldnames or ())]
    if missing:
        raise SpecError(
            f"{file}: the column {missing[0]!r} is missing. The table has {','.join(columns)}."
        )
    for (number, _), row in zip(lines[1:], rows, strict=False):
        yield f"{file}, line {number}", {name: (row[name] or "").strip() for name in columns}
