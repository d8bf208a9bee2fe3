"""A head with its dashboard, as ray_config.yaml starts it; one for all tests that submit jobs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psutil
import yaml

CONFIG = Path(__file__).parents[2] / "ray_config.yaml"
TOKEN = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Head:
    """`address`: of the dashboard, with the Jobs API. `ray_address`: for drivers here. `home`: of
    the user who started it."""

    address: str
    ray_address: str
    home: Path
    process: subprocess.Popen[bytes]


@contextmanager
def head_in(home: Path) -> Iterator[Head]:
    """Start a head with the home of a user of its own, and end all of its processes."""
    (home / ".ray").mkdir(parents=True)
    (home / ".ray/auth_token").write_text(TOKEN)
    (home / ".ray/auth_token").chmod(0o600)
    port, dashboard, agent = _free_ports(3)
    # A driver finds its Ray by a file in that folder: another Ray on this machine, in the usual
    # one, would be taken for it. Its name is short, as the names of sockets have to be.
    temporary = mkdtemp(prefix="ray-")
    command = yaml.safe_load(CONFIG.read_text())["head_start_ray_commands"][-1]
    own = f"--port={port} --dashboard-port={dashboard} --dashboard-agent-listen-port={agent} "
    own += f"--num-cpus=4 --object-store-memory=100000000 --temp-dir={temporary} --block"
    command = re.sub(r"--autoscaling-config=\S+", own, command).replace("--port=6379", "")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command], stdout=log, stderr=log, env=environment_of(home)
        )
    try:
        _wait_for(f"http://127.0.0.1:{dashboard}/api/version", process)
        yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}", home, process)
    finally:
        kill_all(process)
        rmtree(temporary, ignore_errors=True)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all below it, of which some may end by themselves meanwhile."""
    below = psutil.Process(process.pid).children(recursive=True)
    for each in (*below, process):
        with suppress(psutil.NoSuchProcess):
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


def environment_of(home: Path) -> dict[str, str]:
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
