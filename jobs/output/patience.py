"""How long a commit waits for an output that is away, full or closed for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs.output.folder import OutputFolder
from jobs.output.score_columns import ScoreColumns
from jobs.output.writer import write_part
from jobs.storage.patience import patiently

PATIENCE_SECONDS = 300.0
"""How long a disk may be away in all. Chosen: a network disk's server starts anew in a minute or
two, and somebody who reads the log can make room meanwhile; the actors keep their models."""

FIRST_PATIENCE_SECONDS = 5.0
"""Of a part's first try, so that the log soon says what the job waits for."""


def commit_part(
    patience_seconds: float,
    folder: OutputFolder,
    *part: Any,
    sleep: Callable[[float], None] | None = None,
    scores: ScoreColumns = (),
) -> dict[str, Any]:
    """`write_part`, for up to `patience_seconds`: the file task of a commit.

    It writes nothing where job.json is not: there the disk is away, and what is seen in its place
    is the folder on which it is mounted.
    """

    def write() -> dict[str, Any]:
        folder.check_there()
        return write_part(folder, *part, scores=scores)

    return patiently(write, patience_seconds, sleep)


def patience_in_all(stall_timeout_seconds: float) -> float:
    """Seconds for which a disk may be away, before the job counts as stalled."""
    return min(PATIENCE_SECONDS, stall_timeout_seconds / 2)


def patience_of_try(failures: int, max_attempts: int, stall_timeout_seconds: float) -> float:
    """Seconds for which a commit waits that has failed so often; all its tries take about as long
    together, whatever `max_attempts` is."""
    in_all = patience_in_all(stall_timeout_seconds)
    if failures == 0 and max_attempts > 1:
        return min(FIRST_PATIENCE_SECONDS, in_all)
    return in_all / max(1, max_attempts - 1)
