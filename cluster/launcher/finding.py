"""What a check found: a sentence, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Whether a cluster of the file would not work, or would be worse than it could be."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a cluster's file. `about`: the part of the check that found it."""

    severity: Severity
    about: str
    text: str

    def __str__(self) -> str:
        return f"{self.severity} ({self.about}): {self.text}"


def error(about: str, text: str) -> Finding:
    """The cluster would not work, or would be open."""
    return Finding(Severity.ERROR, about, text)


def warning(about: str, text: str) -> Finding:
    """The cluster works, and somebody pays for it."""
    return Finding(Severity.WARNING, about, text)
