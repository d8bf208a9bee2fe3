"""Sums over the parts' records, which every page shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from jobs.output.records import TRUNCATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Rows of the finished parts, and network evaluations spent on them."""

    rows: int
    from_student: int
    from_teacher: int
    refined: int
    failed: int
    nfe: int
    kept_after_failed_refinement: int = 0

    @property
    def pictures(self) -> int:
        """Rows that have one."""
        return self.rows - self.failed

    @property
    def mean_nfe(self) -> float:
        """Network evaluations a picture, with those that failed rows took; 0 without pictures."""
        return self.nfe / self.pictures if self.pictures else 0.0


def truncated_of(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Role -> rows whose prompts were longer than it reads."""
    found = Counter[str]()
    for record in records:
        found.update(record.get(TRUNCATED, {}))
    return dict(found)


def totals_of(records: Iterable[Mapping[str, Any]]) -> Totals:
    """The sum of the parts' records, field by field."""
    found = list(records)
    names = [field.name for field in fields(Totals)]
    return Totals(**{name: sum(record.get(name, 0) for record in found) for name in names})
