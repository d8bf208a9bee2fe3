"""Jobs that are submitted to a real head, with stand-ins for their models."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import FAST, hashes
from tests.cluster.head import Head, environment_of, head_in
from tests.stand_ins import STAND_INS

MODELS = {
    role: {**model, "batch_size": 2, "timed": {**model["timed"], "seconds": {2: seconds}}}
    for (role, model), seconds in zip(STAND_INS["models"].items(), (0.4, 0.05, 0.4), strict=True)
}
"""Stand-ins with batches of two rows."""

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
        **FAST, "models": MODELS, "budget": {"refine": 0.3}, "rows_per_part": 2,
        "input": "prompts.txt", "output": "out", "name": name, **fields,
    }  # fmt: skip
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(job))
    return file


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 250) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_job_is_submitted_watched_and_done_and_then_it_is_done(
    head: Head, bottega: Bottega, tmp_path: Path
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
    shell = subprocess.run(
        [BOTTEGA], capture_output=True, text=True, check=False, timeout=60,
        env={**user_of(head), "_BOTTEGA_COMPLETE": "complete_bash", "COMP_CWORD": "2",
             "COMP_WORDS": f"bottega status {job[:-3]}"},
    )  # fmt: skip
    assert shell.stdout.split() == [job]
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
    file = job_file(tmp_path, rows=80)
    job = bottega("submit", file).stdout.strip()
    wait_for(lambda: len(hashes(tmp_path / "out")) > 1, "no part was written")
    cancelled = bottega("cancel", job)
    assert cancelled.returncode == 0, cancelled.stderr
    assert "Finished parts are safe" in cancelled.stderr
    there = hashes(tmp_path / "out")
    assert 1 < len(there) < 40
    state = bottega("status", "out/", "--json")
    assert state.returncode == 4
    assert json.loads(state.stdout)["state"] == "cancelled"
    again = bottega("submit", file, "--wait")
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"{job}.2\n"
    assert "it goes on from its finished parts: cancelled" in again.stderr
    assert hashes(tmp_path / "out").items() >= there.items()
    assert len(hashes(tmp_path / "out")) == 40


def test_two_clients_that_submit_at_once_start_one_job(
    head: Head, bottega: Bottega, tmp_path: Path
) -> None:
    file = job_file(tmp_path, rows=4, name="race", output="out/{date}")
    command = [BOTTEGA, "submit", str(file), "--for", "2026-11-23", "--wait", "--json"]
    clients = [
        subprocess.Popen(
            command, cwd=tmp_path, env=user_of(head), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    ends = [client.communicate(timeout=280) for client in clients]
    assert [client.returncode for client in clients] == [0, 0], ends
    found = [json.loads(stdout) for stdout, _ in ends]
    assert found[0]["submission_id"] == found[1]["submission_id"]
    assert found[0]["id"].endswith("-2026-11-23")
    assert found[0]["attempt"] == 1
    assert len(hashes(tmp_path / "out/2026-11-23")) == 2
    reasons = " ".join(stderr for _, stderr in ends)
    assert reasons.count("it starts") == 1
    assert not (tmp_path / "out/2026-11-23/.drivers").exists()


def test_ctrl_c_detaches_a_killed_driver_is_seen_and_a_lost_one_is_resumed(
    head: Head, bottega: Bottega, tmp_path: Path
) -> None:
    file, out = job_file(tmp_path, rows=100, name="killed"), tmp_path / "out"
    client = subprocess.Popen(
        [BOTTEGA, "submit", str(file), "--wait"], cwd=tmp_path, env=user_of(head), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # In the background a shell has Ctrl-C ignored, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    wait_for(lambda: len(hashes(out)) > 0, "no part was written")
    client.send_signal(signal.SIGINT)
    stdout, stderr = client.communicate(timeout=60)
    job = stdout.strip()
    assert client.returncode == 130
    assert f"detached; the job goes on. `bottega cancel {job}` stops it." in stderr
    assert bottega("status", job).returncode == 5, "it runs"
    assert bottega("wait", job, "--timeout", "1s").returncode == 124
    os.kill(json.loads((out / "status.json").read_text())["pid"], signal.SIGKILL)
    killed = bottega("wait", job, "--json")
    assert killed.returncode == 1
    assert json.loads(killed.stdout)["state"] == "failed"
    # Without the cluster a killed driver is one that is not heard of any more.
    long_ago = time.time() - 100
    os.utime(out / "status.json", (long_ago, long_ago))
    alone = subprocess.run(
        [BOTTEGA, "status", str(out), "--json"], capture_output=True, text=True, check=False,
        env=environment_of(head.home),
    )  # fmt: skip
    assert alone.returncode == 5
    assert json.loads(alone.stdout)["state"] == "lost"
    there = hashes(out)
    again = bottega("submit", file)
    assert again.stdout == f"{job}.2\n"
    wait_for(lambda: len(hashes(out)) > len(there), "the next attempt wrote no part")
    now = bottega("cancel", "--now", "killed")
    assert now.returncode == 0, now.stderr
    assert json.loads(bottega("status", job, "--json").stdout)["state"] == "cancelled"
    assert hashes(out).items() >= there.items()


def test_a_driver_elsewhere_is_attached_to(head: Head, bottega: Bottega, tmp_path: Path) -> None:
    """`bottega run` on a Ray of its own, which the cluster knows nothing of."""
    file = job_file(tmp_path, rows=12, name="elsewhere")
    alone = environment_of(head.home)
    with (tmp_path / "log").open("w") as log:
        command = [BOTTEGA, "run", file.name, "--address", "local"]
        run = subprocess.Popen(command, cwd=tmp_path, env=alone, stdout=log, stderr=log)
    try:
        wait_for(lambda: (tmp_path / "out/status.json").exists(), "the run did not begin")
        attached = bottega("submit", file.name)
        assert attached.returncode == 0, attached.stderr
        assert "which is no job of this cluster" in attached.stderr
        cancelled = bottega("cancel", "out/")
        assert cancelled.returncode == 0, cancelled.stderr
        assert run.wait(timeout=120) == 4, (tmp_path / "log").read_text()
    finally:
        run.kill()
        run.wait()
    assert bottega("status", "out/").returncode == 4


def test_failed_rows_a_retry_and_a_calibration(bottega: Bottega, tmp_path: Path) -> None:
    prompts = "".join(f'"a red circle {n}"\n' if n != 3 else '""\n' for n in range(4))
    file = job_file(tmp_path, name="rows", input="prompts.csv", max_failed=0.9)
    (tmp_path / "prompts.csv").write_text(f"prompt\n{prompts}")
    strict = bottega("submit", file, "--wait", "--strict-rows")
    assert strict.returncode == 3, strict.stderr
    job = strict.stdout.strip()
    retried = bottega("submit", file, "--retry", "--wait")
    assert retried.returncode == 0, retried.stderr
    assert retried.stdout == f"{job}.2\n"
    assert "1 row had failed, 1 still do" in bottega("logs", job).stdout
    calibrated = bottega("submit", file, "--calibrate", "--wait")
    assert calibrated.returncode == 0, calibrated.stderr
    shown = bottega("logs", calibrated.stdout.strip()).stdout
    assert "sampled rows" in shown
    assert "it was calibrated" in bottega("submit", file, "--calibrate").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["status", "bottega-none-0123456789"], 6, "knows no job"),
        (["status", "nowhere/"], 6, "holds no job"),
        (["cancel", "nobody"], 6, "knows no job"),
        (["list", "--address", "http://127.0.0.1:9"], 2, "no cluster responds"),
        (["submit", "nowhere.yaml"], 2, "cannot read the job file"),
        (["wait", "x", "--timeout", "soon"], 2, "--timeout 'soon' is no time"),
        (["submit", "job.yaml", "--label", "faces"], 2, "as --label team=faces"),
        (["submit", "job.yaml", "--profile", "none"], 2, "has no [profile.none]"),
    ],
)
def test_a_mistake_is_a_sentence_and_a_code(
    arguments: list[str], code: int, error: str, bottega: Bottega, tmp_path: Path
) -> None:
    job_file(tmp_path)
    end = bottega(*arguments)
    assert (end.returncode, end.stdout) == (code, "")
    assert error in end.stderr
    assert "Traceback" not in end.stderr


def test_a_head_that_dies_loses_time_only(tmp_path: Path) -> None:
    """A head of its own, since it is killed; the next one goes on from the output."""
    (tmp_path / "job").mkdir()
    file, out = job_file(tmp_path / "job", rows=16, name="headless"), tmp_path / "job/out"
    with head_in(tmp_path / "first") as first:
        client = subprocess.Popen(
            [BOTTEGA, "submit", str(file), "--wait"], cwd=file.parent, env=user_of(first),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        wait_for(lambda: len(hashes(out)) > 0, "no part was written")
    there = hashes(out)
    long_ago = time.time() - 100
    os.utime(out / "status.json", (long_ago, long_ago))
    stdout, stderr = client.communicate(timeout=120)
    assert client.returncode == 5, stderr
    assert "the output tells how the job stands" in stderr
    assert "headless: lost" in stderr
    with head_in(tmp_path / "second") as second:
        again = subprocess.run(
            [BOTTEGA, "submit", str(file), "--wait"], cwd=file.parent, env=user_of(second),
            text=True, capture_output=True, check=False, timeout=280,
        )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"{stdout.strip()}.2\n", "a number that the new head knows nothing of"
    assert "it goes on from its finished parts: lost" in again.stderr
    assert hashes(out).items() >= there.items()
    assert len(hashes(out)) == 8
