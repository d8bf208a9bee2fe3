"""What the command prints."""

from __future__ import annotations

import logging
import re
from io import StringIO

import pytest
from rich.console import Console

import cluster.console


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
