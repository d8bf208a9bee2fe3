"""What the command prints."""

from __future__ import annotations

import json
import logging
import re
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import cluster.console
from cluster.cli import main
from tests.unit.jobs.local import local_job, run


def test_the_log_of_the_command_carries_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    logger = logging.getLogger("bottega")
    monkeypatch.setattr(cluster.console, "console", Console(file=shown, width=200))
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    cluster.console.log_to_console(verbose=True)
    logging.getLogger("bottega.pool").warning("died: %s", "s3://AKIA:wJalrXUtnFEMI/K7@bucket/p")
    assert "died: s3://***@bucket/p" in shown.getvalue()


def test_a_log_in_a_file_has_whole_lines_with_their_date(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    logger = logging.getLogger("bottega")
    monkeypatch.setattr(cluster.console, "console", Console(file=shown, width=40))
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    cluster.console.log_to_console(verbose=False)
    logging.getLogger("bottega.pool").info("student: %s", "word " * 40)
    (line,) = shown.getvalue().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d student: (word ){40}", line)


def test_a_log_in_json_has_an_object_a_line_and_nothing_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = StringIO()
    logger = logging.getLogger("bottega")
    monkeypatch.setattr(cluster.console, "console", Console(file=shown, width=40))
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    cluster.console.log_to_console(verbose=False, log_format=cluster.console.LogFormat.JSON)
    cluster.console.say("two\nlines, [bold], 100 %d")
    cluster.console.name_job("of s3://AKIA:wJalrXUtnFEMI/K7@bucket/p")
    try:
        raise ValueError("password: hunter2hunter2")
    except ValueError:
        logging.getLogger("bottega.pool").exception("ä: %s", "s3://AKIA:wJalrXUtnFEMI/K7@b/p")
    cluster.console.say_error(ValueError("no"))
    first, second, third = (json.loads(line) for line in shown.getvalue().splitlines())
    assert first["message"] == "two\nlines, [bold], 100 %d"
    assert (first["level"], first["job"], first["logger"]) == ("info", "", "bottega")
    assert second["message"] == "ä: s3://***@b/p"
    assert second["job"] == "of s3://***@bucket/p"
    assert "ValueError" in second["exc_info"]
    assert "hunter2" not in shown.getvalue()
    assert "AKIA" not in shown.getvalue()
    assert (third["level"], third["message"]) == ("error", "bottega: no")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert capsys.readouterr().err == ""


def test_what_is_said_into_a_log_in_a_file_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    logger = logging.getLogger("bottega")
    monkeypatch.setattr(cluster.console, "console", Console(file=shown, width=40))
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    room = cluster.console
    room.say("before the log", room.console)
    assert room.lines_of_log() is None
    room.log_to_console(verbose=False)
    room.say("done: 3 rows", room.console)
    assert room.lines_of_log() is room.say
    first, *timed = shown.getvalue().splitlines()
    assert first == "before the log"
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "T ", line) for line in timed] == [
        "T done: 3 rows",
    ]


def test_verify_counts_the_rows_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text('prompt\na red circle\n""\na blue ring\n')
    run(local_job(tmp_path / "p.csv", tmp_path / "out", id_column=None, max_failed=1.0))
    monkeypatch.setattr(sys, "argv", ["bottega", "verify", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    shown = capsys.readouterr().out
    assert "all is well: 3 rows, 1 of them failed (column `error` says why), in" in shown
    monkeypatch.setattr(sys, "argv", ["bottega", "verify", str(tmp_path / "out"), "--json"])
    with pytest.raises(SystemExit):
        main()
    assert json.loads(capsys.readouterr().out)["failed_rows"] == 1
