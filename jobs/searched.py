"""The ladder that a calibration found, in job.json: an output keeps the one that it began with.

A search is not derived again, as a threshold is: that would take all scores of every attempt, and
with a budget in seconds the seconds too. So job.json has the ladder's rungs spelled out, from which
everything else follows as from any ladder's, and under `search` what was asked for, and what was
said of the answer. The same question goes on with that answer; another question is another job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jobs.output.job_file import differences
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.ladder_search import Asked, BestLadder, asked_by, every_attempt, with_ladder

ASKED = "asked"
"""The field of `search` in job.json that says what the search was to find."""


def unanswered(asked: Asked) -> dict[str, Any]:
    """`search` of job.json before there is an answer, for an input without rows."""
    return {ASKED: asked.fields}


def answered(asked: Asked, best: BestLadder, rows: tuple[int, int]) -> dict[str, Any]:
    """`search` of job.json. rows: those that chose the ladder, and those that judged it."""
    chose, judged = rows
    return {
        ASKED: asked.fields,
        "unit": asked.unit,
        "chosen_by_rows": chose,
        "judged_by_rows": judged,
        **{name: asdict(getattr(best, name)) for name in ("cost", "merit", "gain")},
    }


def is_open(before: Mapping[str, Any] | None) -> bool:
    """Whether a search is still to be made: no output, or one of an input without rows."""
    return before is None or not before["rows"]


def as_begun(spec: JobSpec, before: Mapping[str, Any] | None) -> JobSpec:
    """A job that asks for a search, with the ladder that its output has; with every attempt of the
    search where it has none yet. before: its job.json."""
    if before is None or is_open(before):
        return every_attempt(spec)
    fields = {**before["spec"], "output": spec.output}
    ladder = make_spec(fields).ladder
    return spec if ladder is None else with_ladder(spec, ladder)


def asked_otherwise(spec: JobSpec, before: Mapping[str, Any] | None) -> list[str]:
    """In what the search that an output began with differs from that of a job file, as lines."""
    asked = asked_by(spec)
    if asked is None or before is None:
        return []
    if (search := before.get("search")) is None:
        return ["search: was none, is one; the output's job has a ladder or a budget of its own"]
    return [
        f"{path}: was {was!r}, is {now!r}"
        for path, was, now in differences(search[ASKED], asked.fields)
    ]
