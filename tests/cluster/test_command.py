"""The `bottega` command as a user types it: real processes, real signals."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from jobs.execution.progress import Progress
from jobs.output.folder import OutputFolder
from jobs.output.pages.contact_sheet import make_sheet
from jobs.resolution import Job
from tests.cluster.conftest import (
    FAST,
    FIELDS,
    RunCommand,
    RunJob,
    bottega_in_process,
    hashes,
    rows_of,
)
from tests.outputs import part_file, record_file
from tests.stand_ins import STAND_INS

ROOT = Path(__file__).parents[2]
BOTTEGA = [str(Path(sys.executable).parent / "bottega")]


def bottega(
    *arguments: str | Path, env: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end. env: variables to add to the environment."""
    return subprocess.run(
        [*BOTTEGA, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "COLUMNS": "160", **(env or {})},
        **options,
    )


def job_file(folder: Path, **fields: Any) -> Path:
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump({**FAST, **fields}))
    return file


def in_a_terminal(*arguments: str | Path) -> tuple[int, int]:
    """Start the command as the shell does: it has a terminal, and Ctrl-C reaches it and its Ray.

    Returns the process and the other end of the terminal.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(COLUMNS="120", LINES="40", TERM="xterm-256color")
        os.execv(BOTTEGA[0], [*BOTTEGA, *map(str, arguments)])
    return process, terminal


def read_on(terminal: int) -> Iterator[str]:
    """All that was shown so far without its colours, again and again until the command ended."""
    shown = b""
    with suppress(OSError):  # on Linux this is how a terminal ends
        while more := os.read(terminal, 4096):
            shown += more
            yield re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))


SMALL_PARTS: dict[str, Any] = {
    "models": {role: {**own, "batch_size": 2} for role, own in STAND_INS["models"].items()},
    **FIELDS,
    "rows_per_part": 2,
}
"""Stand-ins, which load quickly, and eleven parts, so that some are left when it is stopped."""


@pytest.fixture(scope="module")
def whole(
    run_here: RunJob, captions: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Job, Progress]:
    """That job without a stop."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return run_here(input=str(captions), output=str(out), **SMALL_PARTS)


@pytest.mark.timeout(600)
def test_ctrl_c_stops_cleanly_and_the_same_command_continues(
    whole: tuple[Job, Progress], bottega_here: RunCommand, tmp_path: Path
) -> None:
    """In a real terminal, whose Ctrl-C is a SIGINT for the whole group of processes."""
    job, _ = whole
    out = tmp_path / "out"
    file = job_file(tmp_path, input=job.spec.input, output=str(out), **SMALL_PARTS)
    process, terminal = in_a_terminal("run", file, "-v")
    shown, pressed = "", False
    for shown in read_on(terminal):
        if not pressed and "part 0 is done" in shown:
            os.write(terminal, b"\x03")
            pressed = True
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130, shown
    assert "Traceback" not in shown
    assert "stopping; again to stop at once" in shown
    assert "Run the same command again to continue" in shown
    for part_of_the_view in ("starting", "calibrating on a sample of 8 rows", "loading"):
        assert part_of_the_view in shown
    stopped = hashes(out)
    assert 1 <= len(stopped) < 11, "stopped too late to continue anything"
    again = bottega_here("run", file, "-v")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"continuing: {len(stopped)} of 11 parts already there" in again.stdout
    assert hashes(out).items() >= stopped.items()
    assert hashes(out) == hashes(job.output.path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_ray_starts_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM when the first of Ray's processes is there; SIGHUP once Ray runs."""
    (tmp_path / "prompts.txt").write_text("a small red circle\n" * 200)  # more than a moment's work
    prompts = str(tmp_path / "prompts.txt")
    out = str(tmp_path / "out")
    file = job_file(tmp_path, input=prompts, output=out, models=STAND_INS["models"])
    log = tmp_path / "log"
    with log.open("w") as stream:
        # `nohup make test` would have it ignore SIGHUP, as it should.
        command = ["env", "--default-signal=HUP", *BOTTEGA, "run", str(file), "-v"]
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    name, said = ("gcs_server", "") if number == signal.SIGTERM else ("raylet", "Ray: started here")
    while said not in log.read_text() or not any(
        child.name() == name for child in psutil.Process(process.pid).children(recursive=True)
    ):
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    process.send_signal(number)
    code = 4 if number == signal.SIGTERM else 130
    assert process.wait(timeout=120) == code, log.read_text()
    assert "stopping; again to stop at once" in log.read_text()
    assert "Traceback" not in log.read_text()


TERMINATED = """
import os, signal, time
from cluster.session import ray_session
from cluster.signals import stopping

with stopping() as stopped, ray_session("local"):
    os.kill(os.getpid(), signal.SIGTERM)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        time.sleep(0.1)
    print("stopped" if stopped() else "not stopped")
"""


def test_a_process_that_sigterm_stops_has_the_time_that_it_takes(tmp_path: Path) -> None:
    """Ray's own handler would abort it after three seconds."""
    end = subprocess.run(
        [sys.executable, "-c", TERMINATED], capture_output=True, text=True, check=False, timeout=120
    )
    assert (end.returncode, end.stdout) == (0, "stopped\n"), end.stderr


def test_a_killed_driver_takes_its_ray_with_it_and_the_same_command_continues(
    whole: tuple[Job, Progress], bottega_here: RunCommand, tmp_path: Path
) -> None:
    """kill -9, which no program can handle."""
    job, _ = whole
    out = OutputFolder(tmp_path / "out")
    file = job_file(tmp_path, input=job.spec.input, output=str(out.path), **SMALL_PARTS)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*BOTTEGA, "run", str(file), "-v"], stdout=log, stderr=log)
    while not record_file(out, 0).exists():
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    # By themselves Ray's agents end after more than a minute.
    assert psutil.wait_procs(below, timeout=30)[1] == [], "a process is left behind"
    written = {n: part_file(out, n).stat().st_mtime_ns for n in out.records()}
    assert 1 <= len(written) < 11, "killed too late to continue anything"
    again = bottega_here("run", file, "-v")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"continuing: {len(written)} of 11 parts already there" in again.stdout
    assert {n: part_file(out, n).stat().st_mtime_ns for n in written} == written
    assert hashes(out.path) == hashes(job.output.path)


def test_parti_prompts_go_through(run_here: RunJob, tmp_path: Path) -> None:
    """1,632 real prompts, far outside the embedded world, with their own columns kept."""
    prompts = ROOT / "tests/data/PartiPrompts.tsv"
    small = {"width": 32, "height": 32}
    cheap = {
        "preset": "shapes",
        "student": {"steps": 1, **small},
        "teacher": {"guidance_scale": 1.0, **small},
    }
    job, progress = run_here(
        input=str(prompts),
        prompt_column="Prompt",
        output=str(tmp_path / "out"),
        models=cheap,
        teacher_steps=1,
        budget={"refine": 0.1},
        rows_per_part=512,
        calibration_rows=64,
    )
    assert progress.done_rows == 1632
    assert progress.failed_rows == 0
    rows = rows_of(job.output.path)
    lines = prompts.read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["Prompt", "Category", "Challenge", "Note"]
    assert [row["Prompt"] for row in rows] == [line.split("\t")[0] for line in lines[1:]]
    assert [row["Category"] for row in rows] == [line.split("\t")[1] for line in lines[1:]]
    assert [row["Challenge"] for row in rows] == [line.split("\t")[2] for line in lines[1:]]
    assert {row["status"] for row in rows} == {"ok"}
    assert 0.05 < sum(row["source"] == "teacher" for row in rows) / 1632 < 0.2
    make_sheet(job.output, tmp_path / "sheet.png", rows_each=4)
    assert (tmp_path / "sheet.png").is_file()


SHAPES = ["--models", "shapes"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run"], "give a job file, or --prompts, --models and --output"),
        (["run", "nowhere.yaml"], "cannot read the job file 'nowhere.yaml'"),
        (["run", "--prompts", "nowhere.csv", "--output", "o", *SHAPES], "does not exist"),
        (["run", "--prompts", "p.txt", "--output", "o", "--models", "shape"], "'shapes'"),
        (["run", "--prompts", "p.txt", "--output", "o", "--refine", "2", *SHAPES], "budget.refine"),
        (["run", "--prompts", "p.txt", "--output", "full", *SHAPES], "not ours"),
        (["sheet", "nowhere"], "has no job.json"),
        (["rum"], "No such command"),
    ],
)
def test_a_mistake_is_shown_as_a_sentence(arguments: list[str], error: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a red circle\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").touch()
    end = bottega_in_process(*arguments, cwd=tmp_path)
    assert end.returncode == 2
    assert error in end.stderr
    assert "Traceback" not in end.stdout + end.stderr


def test_a_mistake_ends_the_process_with_a_sentence(tmp_path: Path) -> None:
    end = bottega("verify", tmp_path)
    assert end.returncode == 2
    assert "no job.json" in end.stderr
    assert "Traceback" not in end.stdout + end.stderr
