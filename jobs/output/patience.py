"""Waits for a disk that is away, full or closed for a while: tries again, later each time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from actors.errors import OutputFailedError
from jobs.output.folder import OutputFolder
from jobs.output.writer import write_part

log = logging.getLogger("bottega.parts")

PATIENCE_SECONDS = 300.0
"""How long a disk may be away in all. Chosen: a network disk's server starts anew in a minute or
two, and somebody who reads the log can make room meanwhile; the actors keep their models."""

FIRST_PATIENCE_SECONDS = 5.0
"""Of a part's first try, so that the log soon says what the job waits for."""

SHORTEST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
"""Between two tries: doubled each time. A stall of a moment costs no more than that, and a disk
that is back is used within half a minute."""

T = TypeVar("T")


def patiently(
    do: Callable[[], T], seconds: float, sleep: Callable[[float], None] | None = None
) -> T:
    """The result of `do`, tried again as long as it raises OutputFailedError.

    seconds: the waits together; the error of the try after them is raised. sleep: `time.sleep`.
    """

    def enough(state: RetryCallState) -> bool:
        return state.idle_for >= seconds

    def wait(state: RetryCallState) -> float:
        return min(waits(state), max(0.0, seconds - state.idle_for))

    def show(state: RetryCallState) -> None:
        assert state.outcome is not None
        error = state.outcome.exception()
        assert error is not None
        log.warning("%s: tried again in %.1f s", error.__cause__ or error, state.upcoming_sleep)

    waits = wait_exponential_jitter(
        initial=SHORTEST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS, jitter=SHORTEST_WAIT_SECONDS
    )
    retrying = Retrying(
        retry=retry_if_exception_type(OutputFailedError),
        stop=enough,
        wait=wait,
        before_sleep=show,
        sleep=sleep or time.sleep,
        reraise=True,
    )
    return retrying(do)


def commit_part(
    patience_seconds: float,
    folder: OutputFolder,
    *part: Any,
    sleep: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """`write_part`, for up to `patience_seconds`: the file task of a commit.

    It writes nothing where job.json is not: there the disk is away, and what is seen in its place
    is the folder on which it is mounted.
    """

    def write() -> dict[str, Any]:
        folder.check_there()
        return write_part(folder, *part)

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
