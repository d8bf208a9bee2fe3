"""A stand-in of Azure's blob storage that Microsoft keeps: Azurite, one for each test process.

npm installs it beside the Python environment, once. It checks signatures, as Azure does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
from filelock import FileLock

VERSION = "3.37.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which its documentation prints: no secret."""
API = "2023-11-03"
"""Of Azure's REST interface, for the one request that this file makes itself."""
READY = "successfully listens on "


@dataclass(frozen=True)
class AzureServer:
    """endpoint: its URL, with the account's name."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find it."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
        }

    def create_container(self, name: str) -> None:
        """Make what Azure calls a bucket; signed by the account's key."""
        url = urlsplit(self.endpoint)
        date = formatdate(usegmt=True)
        asked = f"/{ACCOUNT}{url.path}/{name}\nrestype:container"
        headers = {"x-ms-date": date, "x-ms-version": API}
        signed = "\n".join(
            ["PUT", *[""] * 11, *(f"{key}:{value}" for key, value in headers.items()), asked]
        )
        mac = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256)
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(mac.digest()).decode()}"
        connection = HTTPConnection(url.netloc, timeout=60)
        try:
            connection.request("PUT", f"{url.path}/{name}?restype=container", b"", headers)
            assert connection.getresponse().status == 201
        finally:
            connection.close()


@contextmanager
def azure_server() -> Iterator[AzureServer]:
    """The server, while the block runs."""
    program = _installed()
    with TemporaryDirectory(prefix="bottega-azure-") as folder:
        process = subprocess.Popen(
            [
                program, "--blobHost", "127.0.0.1", "--blobPort", "0", "--location", folder,
                "--silent", "--disableTelemetry", "--skipApiVersionCheck",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if READY in line:
                    yield AzureServer(f"{line.partition(READY)[2].strip()}/{ACCOUNT}")
                    return
            pytest.fail(f"Azurite did not start: {''.join(said)}")
        finally:
            process.kill()
            process.communicate()


def _installed() -> Path:
    """The program, beside the Python environment that the tests run in."""
    folder = Path(sys.prefix) / "azurite"
    program = folder / "node_modules" / ".bin" / "azurite-blob"
    with FileLock(f"{folder}.lock"):
        if not program.exists():
            npm = shutil.which("npm")
            if npm is None:
                pytest.fail(
                    "these tests need Azurite, a stand-in of Azure's blob storage, and npm, which "
                    "installs it, is not here. Install it once: `sudo apt-get install npm`."
                )
            subprocess.run(
                [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder,
                 f"azurite@{VERSION}"],
                check=True, timeout=600,
            )  # fmt: skip
    return program
