"""Follows a job until it ends, and shows it meanwhile. Who stops to look stops nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from actors.errors import ClusterError, NoSuchJobError, StorageError
from cluster.submission.connect import Connect
from cluster.submission.find import FoundJob, find_job, find_output

log = logging.getLogger("bottega.submit")

LOOK_SECONDS = 2.0
"""Between two looks; the driver writes its status every 15 s, and Ray knows its end after one."""


ENDING_SECONDS = 0.3
"""The same of a job that was told to stop, which takes seconds at most."""


class Watch:
    """Looks at a job each time that it is called. Once the cluster is gone, its output tells."""

    def __init__(self, job: str, connect: Connect) -> None:
        self._job, self._connect, self._output, self._is_alone = job, connect, "", False

    def __call__(self) -> FoundJob:
        """The job as it stands now."""
        try:
            found = find_job(self._job, self._connect.named, self._connect.cluster)
        except (ClusterError, NoSuchJobError) as error:
            if not self._output:
                raise
            if not self._is_alone:
                log.warning("%s Until then the output tells how the job stands.", error)
            self._is_alone = True
            return find_output(self._output)
        self._is_alone = False
        if found.output_state is not None:
            self._output = found.output
        return found


class WaitedTooLong(Exception):  # noqa: N818  no error of ours: the job goes on
    """The job has not ended within the time that was given."""


def follow(
    look: Callable[[], FoundJob],
    show: Callable[[FoundJob], None],
    timeout_seconds: float | None = None,
    *,
    look_seconds: float = LOOK_SECONDS,
) -> FoundJob:
    """Look again and again until the job has ended; returns how it stands then.

    show: called with each look. A cluster that does not respond is asked again, and a store that
    is away for a while. Raises WaitedTooLong.
    """
    said = ""
    until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while True:
        try:
            found = look()
        except (ClusterError, StorageError) as error:
            if isinstance(error, StorageError) and not error.passing:
                raise
            if str(error) != said:
                log.warning("%s It is asked again.", error)
            said = str(error)
        else:
            show(found)
            if not found.state.is_active:
                return found
        left = look_seconds if until is None else min(look_seconds, until - time.monotonic())
        if left <= 0:
            raise WaitedTooLong
        time.sleep(left)
