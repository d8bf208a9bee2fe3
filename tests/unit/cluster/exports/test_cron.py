"""The line of a crontab, carried out by the shell that cron would give it to."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from actors.errors import SpecError
from cluster.exports.command import JobCommand, command_of, note_of
from cluster.exports.cron import crontab_line
from cluster.exports.schedule import check_schedule


def as_cron_does(line: str) -> subprocess.CompletedProcess[str]:
    """Run the command of a line: the text after five fields, with its percent signs unescaped."""
    command = line.split(maxsplit=5)[5]
    assert command.replace(r"\%", "").count("%") == 0, "cron would end the command here"
    return subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%")],
        env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_line_runs_in_the_folder_of_the_job_and_keeps_the_exit_code(tmp_path: Path) -> None:
    folder = tmp_path / "100% a job's folder"
    folder.mkdir()
    command = JobCommand(
        folder, ("sh", "-c", 'pwd; echo "$1" >&2; shift; echo "$@"; exit 3', "sh", "it's 5 % of")
    )
    end = as_cron_does(crontab_line(command, "0 3 * * 1-5", folder / "job.log"))
    assert (end.returncode, end.stdout, end.stderr) == (3, "", "")
    first, second, last = (folder / "job.log").read_text().splitlines()
    assert (first, second) == (str(folder), "it's 5 % of")
    assert re.fullmatch(r"--for \d{4}-\d\d-\d\d", last)


def test_a_second_run_ends_at_once_while_the_first_one_runs(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    inner = crontab_line(JobCommand(tmp_path, ("sh", "-c", "touch inner")), "0 3 * * *", log)
    command = inner.split(maxsplit=5)[5]
    outer = JobCommand(tmp_path, ("sh", "-c", f"{command}; echo $?"))
    assert as_cron_does(crontab_line(outer, "0 3 * * *", log)).returncode == 0
    assert not (tmp_path / "inner").exists()
    assert log.read_text() == "0\n"
    assert as_cron_does(inner).returncode == 0
    assert (tmp_path / "inner").exists()


def test_a_path_that_would_begin_another_line_is_refused(tmp_path: Path) -> None:
    command = JobCommand(tmp_path, ("run", "job.yaml\n* * * * * rm"))
    with pytest.raises(SpecError, match="line break"):
        crontab_line(command, "0 3 * * *", tmp_path / "log")


@pytest.mark.parametrize(
    "wrong", ["", "0 3 * *", "0 0 3 * * *", "61 3 * * *", "0 3 31 2 *", "@daily", "0 3 * * ?"]
)
def test_what_is_no_schedule_is_refused(wrong: str) -> None:
    with pytest.raises(SpecError, match=r"is no schedule|never comes"):
        check_schedule(wrong)


def test_words_are_quoted_for_the_shell() -> None:
    command = JobCommand(Path("/"), ("a b", "c'd"))
    assert shlex.split(command.shell_line("today")) == ["a b", "c'd", "--for", "today"]


def test_a_job_is_submitted_where_there_is_an_address(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    assert command_of(file, None, False).words[1:] == ("run", str(file))
    submitted = command_of(file, "http://head:8265", True).words[1:]
    assert submitted == ("submit", str(file), "--wait", "--address", "http://head:8265", "--extend")


def test_a_job_that_each_run_finds_done_is_said(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("output: out/{date}\n")
    assert note_of(file, extend=False) == ""
    file.write_text("output: out\n")
    assert "will find this job done" in note_of(file, extend=False)
    assert note_of(file, extend=True) == ""
