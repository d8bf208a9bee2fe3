"""Stops a driver of this machine that no cluster started, by the process that its status names.

A status is a file beside a dataset, and the dataset may be somebody else's, or its process long
gone and the number another one's: a signal goes to a process that is a driver of Bottega, runs as
this user, and began before the job says it did.
"""

from __future__ import annotations

import signal
from datetime import UTC, datetime

import psutil

from actors.errors import ClusterError
from jobs.output.status import JobStatus

SLACK_SECONDS = 2.0
"""The system knows the time of a process's start to a second or so."""


def stop_driver(status: JobStatus, now: bool) -> None:
    """Send it SIGTERM, or SIGKILL with `now`. Raises ClusterError if there is no such driver."""
    try:
        process = psutil.Process(status.pid)
        if not _is_driver_of(process, status):
            raise psutil.NoSuchProcess(status.pid)
        # psutil looks at the time of the start once more, so the number is still this process's.
        process.send_signal(signal.SIGKILL if now else signal.SIGTERM)
    except (psutil.NoSuchProcess, psutil.AccessDenied) as error:
        raise ClusterError(
            f"process {status.pid}, which {status.name!r} names as its driver, is no `bottega` of "
            "yours that began before the job. If a program of your own runs the job, stop that."
        ) from error


def _is_driver_of(process: psutil.Process, status: JobStatus) -> bool:
    with process.oneshot():
        began = datetime.fromtimestamp(process.create_time() - SLACK_SECONDS, UTC)
        return (
            process.uids().real == psutil.Process().uids().real
            and began <= status.started_at
            and any("bottega" in word for word in process.cmdline()[:3])
        )
