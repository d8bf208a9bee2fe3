"""A head as ray_config.yaml starts it: without its token nobody has it run a job."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil
import pytest
import yaml

CONFIG = Path(__file__).parents[2] / "ray_config.yaml"
TOKEN = "0123456789abcdef" * 4

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


@dataclass(frozen=True)
class Head:
    """`address`: of the dashboard, with the Jobs API. `home`: of the user who started it."""

    address: str
    home: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    home = tmp_path_factory.mktemp("head")
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").write_text(TOKEN)
    (home / ".ray/auth_token").chmod(0o600)
    port, dashboard, agent = _free_ports(3)
    command = yaml.safe_load(CONFIG.read_text())["head_start_ray_commands"][-1]
    own = f"--port={port} --dashboard-port={dashboard} --dashboard-agent-listen-port={agent} "
    own += "--num-cpus=1 --object-store-memory=100000000 --block"
    command = re.sub(r"--autoscaling-config=\S+", own, command).replace("--port=6379", "")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command], stdout=log, stderr=log, env=_environment(home)
        )
    try:
        _wait_for(f"http://127.0.0.1:{dashboard}/api/version", process)
        yield Head(f"http://127.0.0.1:{dashboard}", home, process)
    finally:
        below = psutil.Process(process.pid).children(recursive=True)
        for each in (*below, process):
            each.kill()
        process.wait()
        psutil.wait_procs(below, timeout=30)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _environment(home: Path) -> dict[str, str]:
    """Without any token of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return {**kept, "HOME": str(home), "PATH": path}


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server responds there, with success or an error."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urlopen(url, timeout=5)
        except HTTPError:
            return
        except (URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the head did not start")


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
    environment = {**_environment(head.home), "RAY_AUTH_MODE": "token"}
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
    environment = {**_environment(head.home), "RAY_AUTH_MODE": "token"}
    inside = f"env PYTHONPATH={CONFIG.parent} {sys.executable} {script} {shown}"
    submit = SUBMIT.replace('f"touch {sys.argv[2]}"', "sys.argv[2]")
    mine = [sys.executable, "-c", submit, head.address, inside]
    end = subprocess.run(
        mine, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert end.returncode == 0, end.stderr
    assert re.fullmatch(r"Ray: attached to \S+:\d+, 1 core", shown.read_text())


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
