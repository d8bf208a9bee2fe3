"""Follows a job until it ends, and shows it meanwhile. Who stops to look stops nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from actors.errors import ClusterError
from cluster.submission.find import FoundJob

log = logging.getLogger("bottega.submit")

LOOK_SECONDS = 2.0
"""Between two looks; the driver writes its status every 15 s, and Ray knows its end after one."""


class WaitedTooLong(Exception):  # noqa: N818  no error of ours: the job goes on
    """The job has not ended within the time that was given."""


def follow(
    look: Callable[[], FoundJob],
    show: Callable[[FoundJob], None],
    timeout_seconds: float | None = None,
) -> FoundJob:
    """Look again and again until the job has ended; returns how it stands then.

    show: called with each look. A cluster that does not respond for a while is asked again; once
    the output says that the job is lost, it is. Raises WaitedTooLong.
    """
    until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while True:
        try:
            found = look()
        except ClusterError as error:
            log.warning("%s It is asked again.", error)
        else:
            show(found)
            if not found.state.is_active:
                return found
        left = LOOK_SECONDS if until is None else min(LOOK_SECONDS, until - time.monotonic())
        if left <= 0:
            raise WaitedTooLong
        time.sleep(left)
