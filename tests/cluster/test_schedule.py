"""A schedule on a real head: its runs are submitted, attached to, and followed past a kill."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.head import Head
from tests.cluster.test_submit import BOTTEGA, job_file, user_of, wait_for


def test_a_run_is_triggered_twice_and_followed_by_a_server_that_is_killed(
    head: Head, tmp_path: Path
) -> None:
    def schedule(verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        end = subprocess.run(
            [BOTTEGA, "schedule", verb, *words, "--store", tmp_path / "store.sqlite"],
            capture_output=True, text=True, timeout=280, check=False,
            cwd=tmp_path, env=user_of(head),
        )  # fmt: skip
        assert end.returncode == 0, end.stderr
        return end

    def runs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(schedule("history", "--json").stdout)
        return found

    file = job_file(tmp_path, name="nightly", rows_per_part=4)
    fields = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**fields, "output": "out/{date}"}))
    schedule("add", "nightly", file.name, "--cron", "0 3 * * *", "--timezone", "Europe/Zurich")
    for _ in range(2):
        schedule("trigger", "nightly", "--for", "2026-11-23")
    (run,) = runs()
    assert run["state"] == "running"
    assert run["job"].endswith("-2026-11-23")
    serve = [BOTTEGA, "schedule", "serve", "--store", str(tmp_path / "store.sqlite")]
    for ending in (signal.SIGKILL, signal.SIGTERM):
        server = subprocess.Popen(
            serve, cwd=tmp_path, env=user_of(head), stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            assert "serving 1 schedule of " in server.stdout.readline()
            if ending == signal.SIGTERM:
                wait_for(lambda: runs()[0]["state"] != "running", "the run was not followed")
        finally:
            server.send_signal(ending)
            server.communicate(timeout=60)
    (run,) = runs()
    assert run["state"] == "succeeded", run
    assert (tmp_path / "out/2026-11-23/_SUCCESS").exists()
    listed = subprocess.run(
        [BOTTEGA, "list", "-a", "--json"], env=user_of(head), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    mine = [job for job in json.loads(listed.stdout) if job["id"] == run["job"]]
    assert [job["attempt"] for job in mine] == [1], "submitted once, and attached to"
