"""A head as ray_config.yaml starts it: without its token nobody has it run a job."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.cluster.head import CONFIG, Head, environment_of

SUBMIT = """
import sys
from time import sleep
from ray.job_submission import JobSubmissionClient

client, job = JobSubmissionClient(sys.argv[1]), None
while job is None:
    try:
        job = client.submit_job(entrypoint=f"touch {sys.argv[2]}")
    except RuntimeError as error:  # the head has just begun
        if "No available agent" not in str(error):
            raise
        sleep(0.5)
while not client.get_job_status(job).is_terminal():
    sleep(0.2)
"""


def _submit(head: Head, trace: Path, token: str | None) -> int:
    """Ask for a job that leaves a trace, as any program can; the HTTP status."""
    request = Request(
        f"{head.address}/api/jobs/",
        data=json.dumps({"entrypoint": f"touch {trace}"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=30) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


def test_a_job_runs_for_who_has_the_token_and_for_nobody_else(head: Head, tmp_path: Path) -> None:
    assert _submit(head, tmp_path / "nobody", None) == 401
    assert _submit(head, tmp_path / "guessing", "f" * 64) == 403
    environment = {**environment_of(head.home), "RAY_AUTH_MODE": "token"}
    mine = [sys.executable, "-c", SUBMIT, head.address, str(tmp_path / "mine")]
    end = subprocess.run(
        mine, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert end.returncode == 0, end.stderr
    # Jobs start in the order in which they came: the refused ones would have run by now.
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


WHERE = """
import sys
from pathlib import Path
from cluster.session import ray_session

with ray_session(sys.argv[2] if len(sys.argv) > 2 else None, report=Path(sys.argv[1]).write_text):
    pass
"""


def test_in_a_ray_job_the_session_attaches_to_the_cluster_of_the_job(
    head: Head, tmp_path: Path
) -> None:
    script, shown = tmp_path / "where.py", tmp_path / "shown"
    script.write_text(WHERE)
    environment = {**environment_of(head.home), "RAY_AUTH_MODE": "token"}
    inside = f"env PYTHONPATH={CONFIG.parent} {sys.executable} {script} {shown}"
    submit = SUBMIT.replace('f"touch {sys.argv[2]}"', "sys.argv[2]")
    mine = [sys.executable, "-c", submit, head.address, inside]
    end = subprocess.run(
        mine, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert end.returncode == 0, end.stderr
    assert re.fullmatch(r"Ray: attached to \S+:\d+, 4 cores", shown.read_text())


def test_a_stranger_cannot_see_or_stop_jobs(head: Head) -> None:
    for method, path in (("GET", "/api/jobs/"), ("POST", "/api/jobs/x/stop"), ("GET", "/logs")):
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(head.address + path, method=method), timeout=30)
        assert refused.value.code == 401, path


def test_the_dashboard_is_on_the_loopback_interface(head: Head) -> None:
    port = int(head.address.rsplit(":", 1)[1])
    below = psutil.Process(head.process.pid).children(recursive=True)
    listening = set()
    for process in below:
        with suppress(psutil.NoSuchProcess):  # one that has ended since
            listening |= {
                connection.laddr.ip
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            }
    assert listening == {"127.0.0.1"}
