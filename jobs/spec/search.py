"""The search for a ladder in a job file: the calibration finds the best one within the budget.

    budget: {nfe: 4}
    ladder: search

`jobs.spec.ladder_search` says what is tried, and `jobs.searched` what job.json remembers of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from actors.strict import Settings

NAME = "search"
"""In the place of a ladder: short for `search: {}`."""


Unit = Literal["nfe", "gpu_seconds"]
"""Of what a picture costs: network evaluations, or actor-seconds over the three pools. A field of
`budget` has the same name."""

UNITS: dict[Unit, str] = {"nfe": "network evaluations", "gpu_seconds": "actor-seconds"}
"""For people."""


class Search(Settings):
    """The calibration finds the ladder."""

    judge: str | None = Field(
        default=None,
        description="The column of one of the oracle's `extra_scores`, by whose mean the ladder is "
        "chosen. Default: the score that decides about the rows.",
    )


def as_search(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with `ladder: search` spelled out. Raises ValueError for a ladder beside it."""
    if fields.get("ladder") == NAME:
        return {"search": {}, **{name: one for name, one in fields.items() if name != "ladder"}}
    if fields.get("search") is not None and fields.get("ladder") is not None:
        raise ValueError(
            "ladder: with `search` the calibration finds it. Leave out the one or the other; "
            "`bottega calibrate --search` tries the attempts of a ladder"
        )
    return fields


def check_search(search: Search, is_paid_for: bool, keep: str, judges: Sequence[str]) -> None:
    """Refuse what goes with no search. Raises ValueError.

    is_paid_for: whether the budget says what a picture may cost. judges: the columns that may be.
    """
    if not is_paid_for:
        raise ValueError(
            "budget: a search for a ladder needs what a picture may cost: {nfe: 4} for so many "
            "network evaluations, or {gpu_seconds: 0.8}"
        )
    if keep != "teacher":
        raise ValueError("keep: a search for a ladder chooses it for each rung. Leave it out")
    if wrong := wrong_judge(search.judge, judges):
        raise ValueError(f"search.judge: {wrong}")


def wrong_judge(judge: str | None, judges: Sequence[str]) -> str:
    """Why no ladder can be chosen by this score; empty if one can."""
    if judge is None or judge in judges:
        return ""
    there = f"they are {', '.join(judges)}" if judges else "the job has none"
    return f"{judge!r} is no column of models.oracle.extra_scores; {there}"
