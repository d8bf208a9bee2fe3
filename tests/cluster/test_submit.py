"""Jobs that are submitted to a real head, with stand-ins for their models."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import FAST, hashes
from tests.cluster.head import Head, environment_of
from tests.stand_ins import STAND_INS

BOTTEGA = str(Path(sys.executable).parent / "bottega")

Bottega = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bottega(head: Head, tmp_path: Path) -> Bottega:
    """Run the command to its end as a user of the head does, in a folder of the test's own."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BOTTEGA, *map(str, arguments)],
            capture_output=True, text=True, timeout=280, check=False,
            cwd=tmp_path, env=user_of(head),
        )  # fmt: skip

    return run


def user_of(head: Head) -> dict[str, str]:
    return {**environment_of(head.home), "COLUMNS": "200", "BOTTEGA_ADDRESS": head.address}


def job_file(folder: Path, rows: int = 8, name: str = "job", **fields: Any) -> Path:
    """A job of parts of two rows, each of which takes a second."""
    prompts = "".join(f"a small red circle, number {n}\n" for n in range(rows))
    (folder / "prompts.txt").write_text(prompts)
    job = {
        **FAST, "models": STAND_INS["models"], "budget": {"refine": 0.3}, "rows_per_part": 2,
        "input": "prompts.txt", "output": "out", "name": name, **fields,
    }  # fmt: skip
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(job))
    return file


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_job_is_submitted_watched_and_done_and_then_it_is_done(
    bottega: Bottega, tmp_path: Path
) -> None:
    file = job_file(tmp_path)
    first = bottega("submit", file, "--label", "team=faces")
    assert first.returncode == 0, first.stderr
    assert re.fullmatch(r"bottega-job-[0-9a-f]{10}\n", first.stdout)
    assert "it starts" in first.stderr
    job = first.stdout.strip()
    again = bottega("submit", file)
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
    assert re.search("it is (pending|running)", again.stderr)
    waited = bottega("wait", job, "--json")
    assert waited.returncode == 0, waited.stderr
    end = json.loads(waited.stdout)
    assert (end["schema"], end["state"], end["id"]) == (1, "succeeded", job)
    assert end["labels"] == {"team": "faces"}
    assert end["progress"]["done_rows"] == 8
    done = bottega("submit", file)
    assert (done.returncode, done.stdout) == (0, first.stdout)
    assert "it is done: every part is there" in done.stderr
    logged = bottega("logs", job, "--tail", "3")
    assert "done: 8 rows" in logged.stdout
    assert len(logged.stdout.splitlines()) == 3
    listed = json.loads(bottega("list", "-a", "--label", "team=faces", "--json").stdout)
    assert [one["id"] for one in listed] == [job]
    assert json.loads(bottega("list", "-a", "--label", "team=hands", "--json").stdout) == []
    for key in (job, "job", "out/", tmp_path / "out"):
        state = bottega("status", key)
        assert state.returncode == 0, state.stderr
        assert state.stdout.startswith("job: succeeded")


def test_another_job_on_the_same_output_is_refused(bottega: Bottega, tmp_path: Path) -> None:
    first = bottega("submit", job_file(tmp_path, rows=4, name="first"), "--wait")
    assert first.returncode == 0, first.stderr
    other = bottega("submit", job_file(tmp_path, rows=4, name="other", seed=8))
    assert (other.returncode, other.stdout) == (2, "")
    assert "seed: was 7, is 8" in other.stderr
    grown = bottega("submit", job_file(tmp_path, rows=6, name="first"))
    assert grown.returncode == 2
    assert "Add --extend" in grown.stderr
    more = bottega("submit", "first.yaml", "--extend", "--wait")
    assert more.returncode == 0, more.stderr
    assert more.stdout.strip() == first.stdout.strip() + ".2"
    assert len(hashes(tmp_path / "out")) == 3


def test_a_cancelled_job_is_resumed_by_the_same_submit(bottega: Bottega, tmp_path: Path) -> None:
    file = job_file(tmp_path, rows=24)
    job = bottega("submit", file).stdout.strip()
    wait_for(lambda: len(hashes(tmp_path / "out")) > 1, "no part was written")
    cancelled = bottega("cancel", job)
    assert cancelled.returncode == 0, cancelled.stderr
    assert "Finished parts are safe" in cancelled.stderr
    there = hashes(tmp_path / "out")
    assert 1 < len(there) < 12
    state = bottega("status", "out/", "--json")
    assert state.returncode == 4
    assert json.loads(state.stdout)["state"] == "cancelled"
    again = bottega("submit", file, "--wait")
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"{job}.2\n"
    assert "it goes on from its finished parts: cancelled" in again.stderr
    assert hashes(tmp_path / "out").items() >= there.items()
    assert len(hashes(tmp_path / "out")) == 12
