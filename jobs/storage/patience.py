"""Waits for a storage that is away, full or closed for a while: tries again, later each time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from actors.errors import OutputFailedError, StorageError

log = logging.getLogger("bottega.storage")

SHORTEST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
"""Between two tries: doubled each time. A stall of a moment costs no more than that, and a storage
that is back is used within half a minute."""

T = TypeVar("T")


def patiently(
    do: Callable[[], T], seconds: float, sleep: Callable[[float], None] | None = None
) -> T:
    """The result of `do`, tried again as long as it raises what may pass by itself: a StorageError
    that says so, an error of another kind that one of those is the cause of, an OutputFailedError.

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
        reason = str(error.__cause__ or error).rstrip(".")
        log.warning("%s: tried again in %.1f s", reason, state.upcoming_sleep)

    waits = wait_exponential_jitter(
        initial=SHORTEST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS, jitter=SHORTEST_WAIT_SECONDS
    )
    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=enough,
        wait=wait,
        before_sleep=show,
        sleep=sleep or time.sleep,
        reraise=True,
    )
    return retrying(do)


def _may_pass(error: BaseException) -> bool:
    found = error if isinstance(error, StorageError) else error.__cause__
    return isinstance(error, OutputFailedError) or (
        isinstance(found, StorageError) and found.passing
    )
