"""A real S3-compatible object store: Ceph's radosgw, by `ceph.sh`, one for each session.

The first test that needs it installs it, where it is missing and the user is root, and starts it.
It ends with the session, also with one that is killed: a watcher outlives pytest and stops it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlsplit

import pytest

SCRIPT = Path(__file__).with_name("ceph.sh")

WATCHER = 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; exec bash "$2" stop "$3"'


@dataclass(frozen=True)
class ObjectStoreServer:
    """endpoint: its URL. folder: logs, data, and the numbers of its processes."""

    endpoint: str
    key: str
    secret: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
        }

    def kill_and_restart(self) -> None:
        """SIGKILL its gateway, whatever it is doing, and start it again; what it has stored stays.

        The gateway answers again a second or two after this returns.
        """
        number = self.folder / "rgw.pid"
        os.kill(int(number.read_text(encoding="utf-8")), signal.SIGKILL)
        address = urlsplit(self.endpoint).netloc
        with (self.folder / "rgw.out").open("a") as log:
            gateway = subprocess.Popen(
                ["radosgw", "-n", "client.admin", "-f",
                 f"--rgw_frontends=beast endpoint={address}"],
                env={**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf")},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        number.write_text(str(gateway.pid), encoding="utf-8")

    def administer(self, *arguments: str) -> None:
        """Ceph's own command for users and quotas: `radosgw-admin`."""
        subprocess.run(
            ["radosgw-admin", *arguments],
            env={**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf")},
            check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def client(self, key: str = "", secret: str = "") -> object:
        """boto3's client, for what only tests do: buckets, users, dangling uploads."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=key or self.key,
            aws_secret_access_key=secret or self.secret,
            region_name="us-east-1",
        )


def start_object_store(folder: Path) -> ObjectStoreServer:
    """Start one with its files in a folder, until this process ends."""
    endpoint, key, secret = _start(folder).split()
    return ObjectStoreServer(endpoint, key, secret, folder)


def object_store_of_session(shared: Path) -> ObjectStoreServer:
    """The server of this test session. shared: a folder that all its workers have."""
    with (shared / "object-store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # not inherited by children: Python opens files so
        started = shared / "object-store.txt"
        if not started.exists():
            # Not below `shared`: another session may clear that as soon as this one ends, and with
            # it the numbers of the processes to stop.
            folder = Path(mkdtemp(prefix="bottega-object-store-"))
            started.write_text(f"{_start(folder).strip()} {folder}", encoding="utf-8")
        endpoint, key, secret, folder_name = started.read_text(encoding="utf-8").split()
    return ObjectStoreServer(endpoint, key, secret, Path(folder_name))


def _start(folder: Path) -> str:
    if not all(map(shutil.which, ("radosgw", "ceph-mon", "ceph-osd"))):
        if os.getuid() != 0:
            pytest.fail(
                "these tests need a real object store, Ceph's radosgw, and it is not installed. "
                f"Install it once with `sudo {SCRIPT} install` (Debian and Ubuntu; 25 s)."
            )
        subprocess.run([SCRIPT, "install"], check=True, timeout=600)
    try:
        with (folder / "start.log").open("w") as log:
            run = subprocess.run(
                [SCRIPT, "start", folder, str(free_port())],
                check=True, stdout=subprocess.PIPE, stderr=log, text=True, timeout=240,
            )  # fmt: skip
    except subprocess.SubprocessError:
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)
        raise
    # Workers of xdist are children of the process whose end is the session's.
    session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    subprocess.Popen(
        ["bash", "-c", WATCHER, "watcher", str(session), SCRIPT, folder],
        start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return run.stdout


def free_port() -> int:
    """A port such that the next one is free too: the monitor takes it."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        return port
