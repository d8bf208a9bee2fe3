"""A status file may be a stranger's: it stops no process but a driver of Bottega."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from actors.errors import ClusterError
from cluster.submission.local_driver import stop_driver
from jobs.output.status import JobStatus, State

READ = "import sys; print(flush=True); sys.stdin.read()"


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python that waits, with these words on its command line."""
    with subprocess.Popen(
        [sys.executable, "-c", READ, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as started:
        yield ready(started)
        started.kill()


def ready(started: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """When its program runs: before, the system does not know its command line."""
    assert started.stdout is not None
    started.stdout.readline()
    return started


def status(pid: int, started: datetime | None = None) -> JobStatus:
    when = started or datetime.now(UTC)
    return JobStatus(
        id="bottega-x", name="x", state=State.RUNNING, pid=pid, started_at=when, heartbeat_at=when
    )


@pytest.mark.parametrize(("now", "signal"), [(False, 15), (True, 9)])
def test_a_driver_gets_the_signal(now: bool, signal: int) -> None:
    # `-c READ` is the second and third word.
    with subprocess.Popen(
        [sys.executable, "-c", f"{READ}  # bottega run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as driver:
        ready(driver)
        stop_driver(status(driver.pid), now)
        assert driver.wait() == -signal


@pytest.mark.parametrize("words", [(), ("--job", "bottega")])
def test_another_program_is_left_alone(words: tuple[str, ...]) -> None:
    with process(*words) as other:
        with pytest.raises(ClusterError, match=f"process {other.pid}, which 'x' names"):
            stop_driver(status(other.pid), now=True)
        assert other.poll() is None


def test_a_driver_that_began_after_the_job_is_another_one() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"{READ}  # bottega run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as driver:
        ready(driver)
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        with pytest.raises(ClusterError, match="that began before the job"):
            stop_driver(status(driver.pid, long_ago), now=True)
        assert driver.poll() is None
        driver.kill()


def test_no_process_is_told() -> None:
    gone = max(psutil.pids()) + 10_000
    with pytest.raises(ClusterError, match="is no `bottega` of yours"):
        stop_driver(status(gone), now=True)
