"""`bottega schedule`: its verbs, on a store of the test's own; what it starts is noted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cluster import cli
from cluster.schedules import submitting
from cluster.schedules.store import Store
from cluster.schedules.submitting import Answer

JOB = {"name": "faces", "input": "in.csv", "output": "out/{date}", "models": "timed"}

BOTTEGA = """\
#!/bin/sh
# Stands for the command: notes its folder and words, and answers as `submit --json` does.
echo "$PWD: $*" >> "$NOTES/words"
test -e "$NOTES/hangs" && exec sleep 60
test -e "$NOTES/unknown" && { echo "bottega: the cluster knows no job" >&2; exit 6; }
test -e "$NOTES/away" && { echo "bottega: no cluster there" >&2; exit 2; }
echo '{"schema": 1, "id": "bottega-faces-1", "state": "running", "reason": "it starts",'
echo '"action": "start"}'
"""

SLEEP = time.sleep

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Runs `bottega schedule`; the exit code, and both streams."""
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    (tmp_path / "bottega").write_text(BOTTEGA)
    (tmp_path / "bottega").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTES", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(submitting, "BOTTEGA", tmp_path / "bottega")
    # With a timeout subprocess itself waits for the end of a process in steps of milliseconds.
    monkeypatch.setattr(subprocess, "time", SimpleNamespace(sleep=SLEEP))

    def bottega(verb: str, *words: str) -> tuple[int, str, str]:
        options = ["--store", str(tmp_path / "store.sqlite")]
        monkeypatch.setattr(sys, "argv", ["bottega", "schedule", verb, *words, *options])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return int(caught.value.code or 0), shown.out, shown.err

    return bottega


NIGHTLY = ("nightly", "job.yaml", "--cron", "0 3 * * *", "--timezone", "Europe/Zurich")


def as_json(run: Command, verb: str, *words: str) -> Any:
    code, out, _ = run(verb, *words, "--json")
    assert code == 0
    return json.loads(out)


def test_a_schedule_is_added_shown_suspended_resumed_and_removed(
    run: Command, tmp_path: Path
) -> None:
    code, out, _ = run("add", *NIGHTLY, "--missed", "once", "--extend", "--shared", "/data")
    assert code == 0
    assert out.startswith("nightly: next at ")
    assert " 03:00 CE" in out
    (listed,) = as_json(run, "list")
    shown = as_json(run, "show", "nightly")
    assert listed == shown
    assert shown["job_file"] == str(tmp_path / "job.yaml")
    assert (shown["missed"], shown["late_seconds"]) == ("once", 3600.0)
    assert shown["options"] == ["--extend", "--shared", "/data"]
    assert shown["next_at"].endswith(("T01:00:00Z", "T02:00:00Z"))
    assert run("suspend", "nightly")[1] == "nightly: suspended\n"
    assert as_json(run, "show", "nightly")["next_at"] is None
    assert run("resume", "nightly")[0] == 0
    assert as_json(run, "show", "nightly")["next_at"] == shown["next_at"]
    assert run("remove", "nightly")[0] == 0
    assert as_json(run, "list") == []


def test_a_trigger_submits_for_today_at_once_and_is_in_the_history(
    run: Command, tmp_path: Path
) -> None:
    run("add", *NIGHTLY, "--extend", "--shared", "/data", "--address", "http://head:8265")
    before = as_json(run, "show", "nightly")["next_at"]
    code, out, _ = run("trigger", "nightly", "--for", "2026-11-23")
    assert code == 0
    assert out == "nightly, 2026-11-23: running bottega-faces-1 (it starts)\n"
    (words,) = (tmp_path / "words").read_text().splitlines()
    assert words == (
        f"{tmp_path}: submit {tmp_path}/job.yaml --for 2026-11-23 --json --extend "
        "--address http://head:8265 --shared /data"
    )
    (entry,) = as_json(run, "history", "nightly")
    assert (entry["run_for"], entry["state"]) == ("2026-11-23", "running")
    assert as_json(run, "show", "nightly")["next_at"] == before
    assert run("history")[1] == out
    # A look asks for the job by its id, on the same cluster.
    store = Store(tmp_path / "store.sqlite")
    submitting.CommandJobs().look(store.get("nightly"), store.runs()[0])
    words = (tmp_path / "words").read_text().splitlines()[-1]
    assert words == (f"{tmp_path}: status bottega-faces-1 --json --address http://head:8265")


@pytest.mark.parametrize(
    ("run_for", "job", "says"),
    [
        ("yesterday", {}, "--for 'yesterday' has none"),
        ("2026-02-30", {}, "--for 2026-02-30: there is no such date"),
        ("../../x", {"output": "out/{for}"}, "it goes into the job's id"),
        ("2026-11-23", {"models": "nonsense"}, "'nonsense' is no preset"),
    ],
)
def test_a_trigger_that_no_later_try_would_mend_is_refused_and_not_noted(
    run: Command, tmp_path: Path, run_for: str, job: dict[str, str], says: str
) -> None:
    run("add", *NIGHTLY)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**JOB, **job}))
    code, _, err = run("trigger", "nightly", "--for", run_for)
    assert code == 2
    assert says in err
    assert as_json(run, "history") == []


@pytest.mark.parametrize("name", ["", " ", "../x", ".x", "a b", "\x1b[31m", "x" * 101])
def test_a_name_that_a_log_would_show_badly_is_refused(run: Command, name: str) -> None:
    code, _, err = run("add", name, *NIGHTLY[1:])
    assert code == 2
    assert "is no name of a schedule" in err


def test_all_mistakes_of_a_job_file_are_the_reason() -> None:
    said = "10:00 a line of the log\nbottega: job.yaml has 2 mistakes:\n  a: wrong\n  b: bad\n"
    assert submitting._last_words(said) == "job.yaml has 2 mistakes: a: wrong b: bad"
    assert submitting._last_words("Usage: x\nno such option") == "no such option"


def test_a_trigger_without_a_cluster_says_so(run: Command, tmp_path: Path) -> None:
    run("add", *NIGHTLY)
    (tmp_path / "away").touch()
    code, out, _ = run("trigger", "nightly", "--for", "2026-11-23")
    assert code == 1
    assert out == "nightly, 2026-11-23: submitting (no cluster there)\n"


def test_an_exit_code_says_that_the_cluster_knows_no_such_job(run: Command, tmp_path: Path) -> None:
    run("add", *NIGHTLY)
    assert run("trigger", "nightly", "--for", "2026-11-23")[0] == 0
    store, jobs = Store(tmp_path / "store.sqlite"), submitting.CommandJobs()
    schedule, (before,) = store.get("nightly"), store.runs()
    (tmp_path / "unknown").touch()
    answer = jobs.look(schedule, before)
    assert answer == Answer(error="the cluster knows no job", is_unknown=True)
    (tmp_path / "unknown").unlink()
    (tmp_path / "away").touch()
    assert jobs.look(schedule, before) == Answer(error="no cluster there")
    (tmp_path / "away").unlink()
    assert jobs.submit(schedule, "2026-11-23").starts
    # The command comes to it, too, and the history says how often.
    store.update(replace(before, submitted_again=2))
    assert run("history")[1] == (
        "nightly, 2026-11-23: running bottega-faces-1 (submitted again 2 times; it starts)\n"
    )
    assert as_json(run, "history")[0]["submitted_again"] == 2


@pytest.mark.parametrize("gone", ["folder", "folder is a file", "command"])
def test_a_folder_or_a_command_that_is_gone_is_an_answer(
    gone: str, run: Command, tmp_path: Path
) -> None:
    run("add", *NIGHTLY)
    store = Store(tmp_path / "store.sqlite")
    schedule = store.get("nightly")
    if gone == "command":
        (tmp_path / "bottega").unlink()
    else:
        schedule = replace(schedule, folder=str(tmp_path / "gone"))
        store.change(schedule)
    if gone == "folder is a file":
        (tmp_path / "gone").touch()
    answer = submitting.CommandJobs().submit(schedule, "2026-11-23")
    assert answer.error.startswith(f"cannot run `bottega submit` in {schedule.folder!r}: ")
    assert ("Not a directory" if gone == "folder is a file" else "No such file") in answer.error
    code, out, _ = run("trigger", "nightly", "--for", "2026-11-23")
    assert code == 1
    assert answer.error in out


def test_a_command_that_hangs_is_killed_and_that_is_an_answer(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "CALL_SECONDS", 0.5)
    run("add", *NIGHTLY)
    (tmp_path / "hangs").touch()
    code, out, _ = run("trigger", "nightly", "--for", "2026-11-23")
    assert code == 1
    assert out == "nightly, 2026-11-23: submitting (`bottega submit` did not end within 0.5 s)\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x", "job.yaml", "--cron", "61 * * * *"), "is no schedule"),
        (("x", "job.yaml", "--cron", "0 3 * * *", "--timezone", "Mars"), "is no time zone"),
        (("x", "nothing.yaml", "--cron", "0 3 * * *"), "cannot read the job file"),
        (("x", "job.yaml", "--cron", "0 3 * * *", "--late", "soon"), "--late"),
        ((" ", "job.yaml", "--cron", "0 3 * * *"), "is no name"),
    ],
)
def test_what_would_never_run_is_refused(words: tuple[str, ...], said: str, run: Command) -> None:
    code, _, err = run("add", *words)
    assert code == 2
    assert said in err
    assert as_json(run, "list") == []


def test_a_job_without_a_date_is_noted(run: Command, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**JOB, "output": "out"}))
    code, _, err = run("add", *NIGHTLY)
    assert code == 0
    assert "will find this job done" in err


def test_a_name_that_is_not_there_is_a_sentence(run: Command) -> None:
    for verb in ("show", "suspend", "resume", "trigger", "remove", "history"):
        code, _, err = run(verb, "other")
        assert code == 2
        assert "there is no schedule 'other'" in err
