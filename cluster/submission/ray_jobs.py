"""Ray's Jobs API of one cluster: the only room that calls it.

Ray's client takes its address from the environment before the one that it is given, and waits for
ever for an address that does not respond; both are put right here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from ray._private.runtime_env import packaging
from ray.dashboard.modules import dashboard_sdk
from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.dashboard.utils import ray_address_to_api_server_url
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobStatus, JobSubmissionClient

from actors.errors import ClusterError
from cluster.reachable import check_reachable
from cluster.submission.decision import RayStatus, Submission
from cluster.submission.this_attempt import STOP_SECONDS, STOP_WAIT
from cluster.token import users_token

log = logging.getLogger("bottega.submit")

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""Of the dashboard, with Ray's own port: a head on this machine, or a tunnel to one."""

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 120.0
"""For an address where nobody is, and for an answer: a package of files is uploaded in one."""

BEGIN_SECONDS, AGENT_SECONDS = 60.0, 0.5
"""A head that has just begun has no agent for jobs yet: so long it is asked again, and so often."""

NO_AGENT = "No available agent"
"""Ray's words for a head whose agent does not run, now or ever."""

_ENVIRONMENT = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


LOOK_SECONDS = 0.2
"""Between two looks at a short command: Ray takes a second to start one."""


class _IdIsUsed(Exception):  # noqa: N818  no error of ours: somebody else was first
    """A submission has this id."""


class _Client(JobSubmissionClient):
    """With limits on each request."""

    def _do_request(self, *args: Any, **kwargs: Any) -> Any:
        limits = {"timeout": (CONNECT_SECONDS, ANSWER_SECONDS)}
        return super()._do_request(*args, **{**limits, **kwargs})


class RayJobs:
    """The submissions of one cluster. Every method raises ClusterError where it cannot be reached.

    address: of its dashboard, `http://head:8265`; or of its Ray, `head:6379` or `auto`.
    """

    def __init__(self, address: str | None = None) -> None:
        for loud in (dashboard_sdk.logger, packaging.default_logger):  # they tell of every package
            loud.setLevel(logging.WARNING)
        with _explained(address or DEFAULT_ADDRESS), _without_rays_variables():
            self.address = _dashboard(address or DEFAULT_ADDRESS)
            with users_token(self.address, _is_let_in):
                self._client = _Client(self.address)

    def all(self) -> list[Submission]:
        """Every job that was submitted over the Jobs API, of Bottega or not, the oldest first."""
        with _explained(self.address):
            found = [_submission(one) for one in self._client.list_jobs() if one.submission_id]
        return sorted(found, key=lambda one: one.submitted_at or datetime.min.replace(tzinfo=UTC))

    def submit(
        self, submission_id: str, entrypoint: str, files: Path, metadata: Mapping[str, str]
    ) -> bool:
        """Start an attempt with the files of a folder; False if its id has been used already: then
        somebody else has just started it."""
        environment = {STOP_WAIT: str(STOP_SECONDS)}
        try:
            self._start(
                entrypoint=entrypoint,
                submission_id=submission_id,
                runtime_env={"working_dir": str(files), "env_vars": environment},
                metadata=dict(metadata),
            )
        except _IdIsUsed:
            return False
        return True

    def _start(self, **how: Any) -> str:
        """Submit to a head that may have begun just now; returns the id."""
        until = time.monotonic() + BEGIN_SECONDS
        with _explained(self.address):
            while True:
                try:
                    return str(self._client.submit_job(**how))
                except RuntimeError as error:
                    if "already exists" in str(error) or "already been" in str(error):
                        raise _IdIsUsed from error
                    if NO_AGENT not in str(error):
                        raise
                    if time.monotonic() > until:
                        raise RuntimeError(
                            "the head takes no jobs, since its dashboard agent does not run. "
                            "Another Ray on its machine, as of a `bottega run`, may hold the "
                            "agent's port, 52365: start the head with another "
                            "`--dashboard-agent-listen-port`, or when the other has ended"
                        ) from error
                    time.sleep(AGENT_SECONDS)

    def run(self, entrypoint: str) -> str:
        """Run a command on the head, and return what it printed."""
        name, until = self._start(entrypoint=entrypoint), time.monotonic() + ANSWER_SECONDS
        with _explained(self.address):
            while not (status := self._client.get_job_status(name)).is_terminal():
                if time.monotonic() > until:
                    self._client.stop_job(name)
                    raise RuntimeError(f"{entrypoint!r} did not end in {ANSWER_SECONDS:g} s")
                time.sleep(LOOK_SECONDS)
            printed = str(self._client.get_job_logs(name))
            self._client.delete_job(name)
        if status is not JobStatus.SUCCEEDED:
            raise ClusterError(f"{entrypoint!r} failed on the cluster: {printed.strip()[-2000:]}")
        return printed

    def stop(self, submission_id: str) -> None:
        """Send the driver SIGTERM, and SIGKILL when STOP_SECONDS are over."""
        with _explained(self.address):
            self._client.stop_job(submission_id)

    def kill(self, submission: Submission) -> None:
        """Kill the process of a driver that was told to stop, by a job of its own on the head."""
        if submission.driver_pid is None:
            return  # it has not begun, and the stop has ended it
        with _explained(self.address):
            killer = self._client.submit_job(entrypoint=f"kill -9 {submission.driver_pid}")
            log.debug("%s kills process %s", killer, submission.driver_pid)

    def logs(self, submission_id: str) -> str:
        """All that the driver has printed so far."""
        with _explained(self.address):
            return str(self._client.get_job_logs(submission_id))

    def follow_logs(self, submission_id: str) -> Iterator[str]:
        """What the driver prints, from the beginning, until it ends."""
        with _explained(self.address), asyncio.Runner() as runner:
            chunks = aiter(self._client.tail_job_logs(submission_id))
            while True:
                try:
                    yield runner.run(_next(chunks))
                except StopAsyncIteration:
                    return

    def hosts(self) -> set[str]:
        """The names of the machines that are in the cluster now."""
        with _explained(self.address):
            answer = self._client._do_request("GET", "/nodes?view=summary").json()
        nodes = answer["data"]["summary"]
        return {
            str(node["hostname"])
            for node in nodes
            if node.get("raylet", {}).get("state", "ALIVE") == "ALIVE"
        }

    def is_here(self) -> bool:
        """Whether this machine is the whole cluster, so that it has every file of this one."""
        return self.hosts() <= {socket.gethostname()}


async def _next(chunks: Any) -> str:
    return str(await anext(chunks))


def _submission(details: JobDetails) -> Submission:
    driver = details.driver_info
    return Submission(
        submission_id=str(details.submission_id),
        ray_status=RayStatus(details.status.value),
        message=details.message or "",
        metadata=details.metadata or {},
        submitted_at=_time(details.start_time),
        ended_at=_time(details.end_time),
        exit_code=details.driver_exit_code,
        driver_pid=int(driver.pid) if driver else None,
    )


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _dashboard(address: str) -> str:
    """The URL of the dashboard at an address; Ray's own address leads there as well."""
    if "://" in address:
        return address.rstrip("/")
    if address != "auto":
        url = f"http://{address}"
        with suppress(requests.RequestException):
            requests.get(f"{url}/api/version", timeout=CONNECT_SECONDS)
            return url
    if address != "auto":
        check_reachable(address)
    with users_token(address):
        return str(ray_address_to_api_server_url(address))


def _is_let_in(url: str) -> bool:
    answer = requests.get(f"{url}/api/jobs/", timeout=CONNECT_SECONDS, headers=_headers())
    return answer.status_code not in (401, 403)


def _headers() -> dict[str, str]:
    from ray._private.authentication.http_token_authentication import (
        get_auth_headers_if_auth_enabled,
    )

    return dict(get_auth_headers_if_auth_enabled({}))


@contextmanager
def _without_rays_variables() -> Iterator[None]:
    """Ray's client would take these before the address that it is given."""
    before = {name: os.environ.pop(name, None) for name in _ENVIRONMENT}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turns what Ray's client raises into a ClusterError that says what to do."""
    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            f"the cluster at {address!r} does not take your token. Is it that cluster's?"
        ) from error
    except (requests.RequestException, ConnectionError, RayError) as error:
        raise ClusterError(
            f"no cluster responds at {address!r}. Give the address of its dashboard, as "
            "http://head:8265, with --address or in BOTTEGA_ADDRESS; `ray dashboard` opens a "
            "tunnel to one in a cloud. An output tells its state without: `bottega status OUTPUT`."
        ) from error
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().rstrip(".")[:2000]
        raise ClusterError(f"the cluster at {address!r}: {said}.") from error
