"""examples/nightly over five nights, on a real head and a real object store; the clock is moved."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import psutil
import pytest
import yaml

from cluster.schedules.server import Server
from cluster.schedules.store import Run, Store
from cluster.schedules.submitting import CommandJobs
from jobs import open_output
from jobs.storage.storage_at import storage_at
from tests.cluster.head import environment_of, head_in
from tests.servers.fixtures import object_store
from tests.servers.object_store import ObjectStoreServer
from tests.stand_ins import STAND_INS

__all__ = ["object_store"]

ROOT = Path(__file__).parents[2]
BOTTEGA = Path(sys.executable).parent / "bottega"
ROWS = 12
"""Of a night: three parts."""

MANY_ROWS = 48
"""Of the night that is killed after its first part: a busy machine takes seconds to see that."""


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[str]]]:
    """A chat's webhook: its URL, and the lines that were posted to it."""
    lines: list[str] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            lines.append(json.loads(content)["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", lines
    server.shutdown()


@pytest.fixture(scope="module")
def bucket(
    object_store: ObjectStoreServer,
    told: tuple[str, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A bucket; this process is a user of a head, with all that it needs in its environment."""
    name = f"nights-{uuid4().hex[:12]}"
    client: Any = object_store.client()
    client.create_bucket(Bucket=name)
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(variable)  # of a Ray that an earlier test of this process has started
        for variable, value in {**object_store.environment, "TELL_URL": told[0]}.items():
            patch.setenv(variable, value)
        with head_in(tmp_path_factory.mktemp("home")) as head:
            for variable, value in environment_of(head.home).items():
                patch.setenv(variable, value)
            patch.setenv("BOTTEGA_ADDRESS", head.address)
            yield f"s3://{name}"


class Nights:
    """The example's folder, its schedule, and a server whose clock is moved."""

    def __init__(self, folder: Path, bucket: str) -> None:
        shutil.copytree(ROOT / "examples/nightly", folder, dirs_exist_ok=True)
        shutil.rmtree(folder / "prompts")
        (folder / "prompts").mkdir()
        self.folder, self.out = folder, f"{bucket}/nightly"
        file = folder / "nightly.yaml"
        fields = yaml.safe_load(file.read_text())
        assert fields["output"] == "s3://pictures/nightly/{date}"
        retention = {"retention": {"keep": 3, "delete": True}}
        more = {"output": f"{self.out}/{{date}}", "after": fields["after"] | retention}
        # Stand-ins that wait instead of computing; a part takes a second.
        file.write_text(yaml.safe_dump({**fields, **STAND_INS, **more, "rows_per_part": 4}))
        self.now = datetime(2026, 11, 19, 12, tzinfo=UTC)
        self.store = folder / "schedules.sqlite"
        zone = ("--cron", "0 3 * * *", "--timezone", "Europe/Zurich")
        self.bottega("schedule", "add", "nightly", "nightly.yaml", *zone)
        store = Store(self.store)
        store.change(replace(store.get("nightly"), served_until=self.now))
        self.serve_anew()

    def bottega(self, *words: str) -> str:
        store = ["--store", str(self.store)] if words[0] == "schedule" else []
        end = subprocess.run(
            [BOTTEGA, *words, *store], cwd=self.folder, capture_output=True, text=True,
            timeout=280, check=False,
        )  # fmt: skip
        assert end.returncode == 0, end.stderr
        return end.stdout

    def serve_anew(self) -> None:
        """A server that was killed, and one that is started in its place."""
        self.server = Server(Store(self.store), CommandJobs(), lambda: self.now)

    def comes(self, date: str, rows: int = ROWS, without_prompt: int = 0) -> None:
        """Prompts come in for a date; some of the rows have none."""
        lines = [
            {"prompt": None if n < without_prompt else f"a small red circle, {n}"}
            for n in range(rows)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.folder / f"prompts/{date}.jsonl").write_text(text)

    def begins(self) -> None:
        """The next night's time comes."""
        self.now = (self.now + timedelta(days=1)).replace(hour=2, minute=0)
        self.server.serve_once()

    def run(self, date: str) -> Run:
        (found,) = [run for run in Store(self.store).runs() if run.run_for == date]
        return found

    def status(self, date: str) -> dict[str, Any]:
        file = storage_at(f"{self.out}/{date}")
        found: dict[str, Any] = json.loads(file.get("status.json")) if file.find("job.json") else {}
        return found

    def ends(self, date: str) -> Run:
        """The driver ends, and the server sees it at its next look."""

        def ended() -> bool:
            self.server.serve_once()
            return not self.run(date).state.is_active

        def shown() -> str:
            return self.bottega("status", self.run(date).job)

        def is_over() -> bool:
            return self.status(date).get("ended_at") is not None

        wait_for(is_over, f"{date} does not end", shown)
        wait_for(ended, f"the end of {date} is not seen", shown)
        return self.run(date)


def wait_for(
    condition: Callable[[], bool], what: str, shown: Callable[[], str] = lambda: ""
) -> None:
    """shown: what helps to find out why it did not come."""
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, f"{what}. {shown()}"
        time.sleep(0.2)


def driver_of(job: str) -> psutil.Process:
    """The process of a job's driver, by the status that it writes."""
    return next(
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if "bottega" in " ".join(process.info["cmdline"] or [])
        and f'"{job}"' in (process.info["environ"] or {}).get("RAY_JOB_CONFIG_JSON_ENV_VAR", "")
    )


@pytest.mark.timeout(900)  # under a minute alone; twenty starts of a process under load
def test_five_nights(bucket: str, told: tuple[str, list[str]], tmp_path: Path) -> None:
    nights, lines = Nights(tmp_path / "nightly", bucket), told[1]

    # A plain night.
    nights.comes("2026-11-20")
    nights.begins()
    assert nights.ends("2026-11-20").state == "succeeded"

    # A night without news: it ends at once, and nobody is told of it.
    nights.begins()
    quiet = nights.run("2026-11-21")
    assert (quiet.state, quiet.job != "") == ("succeeded", True)
    assert quiet.reason.startswith("nothing to do: input 'prompts/2026-11-21*.jsonl' has no file")
    assert not nights.status("2026-11-21")

    # A night with rows that fail: the dataset is there, and says so.
    nights.comes("2026-11-22", without_prompt=2)
    nights.begins()
    assert nights.ends("2026-11-22").state == "succeeded"
    assert nights.status("2026-11-22")["progress"]["failed_rows"] == 2

    # A night that is killed, the server and the driver: a trigger goes on from the finished parts.
    nights.comes("2026-11-23", rows=MANY_ROWS)
    nights.begins()
    killed = nights.run("2026-11-23").job
    out = storage_at(f"{nights.out}/2026-11-23")
    wait_for(lambda: len(out.entries("records")) > 0, "no part was finished")
    os.kill(driver_of(killed).pid, signal.SIGKILL)
    there = {entry.path: out.get(entry.path) for entry in out.entries("data")}
    num_parts = len(there)
    assert 1 <= num_parts < MANY_ROWS // 4, "it was killed too late"
    nights.serve_anew()

    def is_seen() -> bool:
        nights.server.serve_once()
        return nights.run("2026-11-23").state == "failed"

    wait_for(is_seen, "the kill is not seen")
    assert "was killed" in nights.run("2026-11-23").reason
    nights.bottega("schedule", "trigger", "nightly", "--for", "2026-11-23")
    assert nights.ends("2026-11-23").state == "succeeded"
    assert {name: out.get(name) for name in there} == there
    assert nights.status("2026-11-23")["attempt"] == 2

    # A night whose trigger comes twice, by a person and by its time.
    nights.comes("2026-11-24")
    nights.bottega("schedule", "trigger", "nightly", "--for", "2026-11-24")
    nights.begins()
    twice = nights.ends("2026-11-24")
    assert (twice.state, nights.status("2026-11-24")["attempt"]) == ("succeeded", 1)

    dates = ["2026-11-22", "2026-11-23", "2026-11-24"]
    left = {entry.path.split("/")[0] for entry in storage_at(nights.out).entries()}
    assert left == set(dates), "three finished ones are kept"
    for date in dates:
        output = open_output(f"{nights.out}/{date}")
        assert list(output.verify()) == []
        parts = sorted((nights.folder / f"published/{date}").rglob("*.parquet"))
        assert len(parts) == (MANY_ROWS if date == "2026-11-23" else ROWS) // 4
    assert (nights.folder / "published/2026-11-20").exists(), "what was published stays"
    assert [line.partition(". ")[0] for line in lines] == [
        "nightly 2026-11-20: succeeded, 12 rows, 0 failed",
        "nightly 2026-11-22: succeeded, 12 rows, 2 failed",
        f"nightly 2026-11-23: succeeded, {MANY_ROWS} rows, 0 failed",
        "nightly 2026-11-24: succeeded, 12 rows, 0 failed",
    ]
    assert lines[0].endswith(f"{nights.out}/2026-11-20/report.html")
