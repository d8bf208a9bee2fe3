"""Hooks: which one is called, what it is given, and that it changes nothing."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from actors.errors import CancelledJobError, InputError, InterruptedJobError
from cluster.hooks import NothingToDo, call_hook, environment, hooks_of
from jobs import JobSpec, make_spec, open_output
from jobs.execution.attempt import Attempt
from jobs.execution.status_reporter import reporting
from jobs.spec.after import After
from tests.unit.jobs.local import FIELDS, bytes_of, local_job, run, write_prompts

KEEP = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"


def hook(file: Path) -> list[str]:
    """A command that keeps what it is given in a file."""
    return [sys.executable, "-c", KEEP, str(file)]


def spec_with(folder: Path, **fields: Any) -> JobSpec:
    after = {"on_success": hook(folder / "success"), "on_failure": hook(folder / "failure")}
    places = {"input": str(folder / "p.csv"), "output": str(folder / "out")}
    return make_spec({**FIELDS, **places, "after": {**after, **fields}})


def told(folder: Path, spec: JobSpec, error: BaseException | None) -> dict[str, Any]:
    """By its name, the job that a hook was given."""
    if error is None:
        with hooks_of(spec, Attempt(run_for="2026-11-23", labels={"team": "a"})):
            pass
    else:
        with pytest.raises(type(error)), hooks_of(spec, Attempt()):
            raise error
    names = [name for name in ("success", "failure") if (folder / name).exists()]
    return {name: json.loads((folder / name).read_text()) for name in names}


@pytest.mark.parametrize(
    ("error", "name", "code"),
    [
        (None, "success", 0),
        (InputError("input 'p.csv' does not exist."), "failure", 2),
        (typer.Exit(3), "failure", 3),
        (CancelledJobError("stopped."), "failure", 4),
        (RuntimeError("a bug"), "failure", 1),
        (InterruptedJobError("Ctrl-C"), "", 130),
        (KeyboardInterrupt(), "", 130),
        (NothingToDo(), "", 0),
    ],
)
def test_the_exit_code_says_which_hook_is_called(
    error: BaseException | None, name: str, code: int, tmp_path: Path
) -> None:
    found = told(tmp_path, spec_with(tmp_path), error)
    assert list(found) == ([name] if name else [])
    if name:
        assert found[name]["exit_code"] == code


def test_a_hook_is_given_the_job_as_status_prints_it(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 6), tmp_path / "out")
    run(job)
    spec = spec_with(tmp_path)
    found = told(tmp_path, spec, None)["success"]
    assert (found["schema"], found["state"], found["name"]) == (1, "succeeded", "job")
    assert found["output"] == str(tmp_path / "out")
    assert found["progress"]["done_rows"] == 6
    assert Path(found["report"]).exists()


def test_a_job_that_ended_before_it_had_an_output_says_why(tmp_path: Path) -> None:
    found = told(tmp_path, spec_with(tmp_path), InputError("input 'p.csv' does not exist."))
    told_of = found["failure"]
    assert (told_of["state"], told_of["reason"]) == ("failed", "input 'p.csv' does not exist.")
    assert told_of["id"].startswith("bottega-job-")
    assert told_of["report"] is None


def test_a_run_of_before_is_not_taken_for_this_one(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 6), tmp_path / "out")
    run(job)
    file = tmp_path / "out/status.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pid": 1, "host": "another"}))
    found = told(tmp_path, spec_with(tmp_path), InputError("changed"))["failure"]
    assert (found["state"], found["reason"]) == ("failed", "changed")


def test_no_hook_changes_a_byte_or_how_the_job_ended(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 6), tmp_path / "out")
    run(job)
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    for command in (["false"], ["no-such-command"], ["sh", "-c", "kill -9 $$"], ["echo", "{}"]):
        with hooks_of(spec_with(tmp_path, on_success=command), Attempt()):
            pass
    assert {f: f.read_bytes() for f in (tmp_path / "out").rglob("*") if f.is_file()} == before


def test_a_changed_hook_is_the_same_job_and_is_in_no_dataset(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 6)
    plain, hooked = (
        local_job(source, tmp_path / name, after=after)
        for name, after in (("a", {}), ("b", {"on_success": ["tell", "secret-channel"]}))
    )
    run(plain)
    run(hooked)
    assert bytes_of(plain) == bytes_of(hooked)
    written = b"".join(f.read_bytes() for f in (tmp_path / "b").rglob("*") if f.is_file())
    assert b"secret-channel" not in written
    before = (tmp_path / "b/job.json").read_bytes()
    again = local_job(source, tmp_path / "b", after={"on_failure": ["mail"]})
    assert run(again).resumed_rows == 6
    assert (tmp_path / "b/job.json").read_bytes() == before


def test_what_a_dataset_says_that_follows_it_is_not_believed(tmp_path: Path) -> None:
    """It may be somebody else's: `retry` of it would run their command, and send or delete."""
    run(local_job(write_prompts(tmp_path / "p.csv", 6), tmp_path / "out"))
    file = tmp_path / "out/job.json"
    job = json.loads(file.read_text())
    for after in ({"on_success": ["rm", "-rf", "/"]}, {"publish": {"to": "s3://theirs"}}, "broken"):
        file.write_text(json.dumps({**job, "spec": {**job["spec"], "after": after}}))
        assert open_output(tmp_path / "out").spec.after == After()


def test_the_output_of_a_hook_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bottega")
    noisy = "import sys\nfor n in range(1000): print('line', n)\nprint('e', file=sys.stderr)"
    assert call_hook("on_success", [sys.executable, "-c", noisy], {}, 60) == 0
    assert "on_success: line 199" in caplog.text
    assert "on_success: line 200" not in caplog.text
    assert "801 more lines" in caplog.text
    caplog.clear()
    assert call_hook("on_failure", ["sh", "-c", "echo oh no; exit 7"], {}, 60) == 7
    assert "on_failure: oh no" in caplog.text
    assert "on_failure (sh) ended with 7. The job stays as it is." in caplog.text


def test_a_hook_that_takes_too_long_is_killed_with_all_it_started(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child = tmp_path / "child"
    script = f"sleep 600 & echo $! > {child}; wait"
    assert call_hook("on_success", ["sh", "-c", script], {}, 0.5) is None
    assert "took more than 0.5 s" in caplog.text
    status = Path(f"/proc/{child.read_text().strip()}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_a_hook_that_reads_nothing_does_not_hold_the_job_up() -> None:
    assert call_hook("on_success", ["true"], {"reason": "x" * 1_000_000}, 60) == 0


def test_a_hook_has_the_users_environment_and_no_token_of_a_cluster() -> None:
    ours = {"PATH": "/bin", "SLACK_URL": "u", "RAY_AUTH_TOKEN": "t", "RAY_AUTH_TOKEN_PATH": "p"}
    assert environment(ours) == {"PATH": "/bin", "SLACK_URL": "u"}


def test_a_hook_runs_when_the_status_is_written(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 6), tmp_path / "out")
    job.output.storage.create()
    status = tmp_path / "out/status.json"
    command = ["cp", str(status), str(tmp_path / "seen.json")]
    with (
        hooks_of(spec_with(tmp_path, on_success=command), Attempt()),
        reporting(job, "run", Attempt()),
    ):
        pass
    assert json.loads((tmp_path / "seen.json").read_text())["state"] == "succeeded"
