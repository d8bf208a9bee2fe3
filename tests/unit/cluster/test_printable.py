"""No text from outside moves the cursor, forges a line, or turns the direction of reading."""

from __future__ import annotations

import logging
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from actors.errors import OutputError
from cluster import console as room
from cluster.printable import one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nall is well", "a\\nall is well"),
        ("a\rb", "a\\rb"),
        ("\x9b31m", "\\x9b31m"),  # the same as ESC [ to some terminals
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("a\u2028b", "a\\u2028b"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\ud800", "\\ud800"),
        ("\x7f", "\\x7f"),
        ("\U000e0041", "\\U000e0041"),  # a tag: invisible text
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize(
    "text", ["a\tb", "grüße, 日本語, नमस्ते", "👩\u200d🚀", "[red]\\n`$(x)`", "\u00a0"]
)
def test_what_is_printable_stays(text: str) -> None:
    assert one_line(text) == text


@given(st.text())
def test_every_text_becomes_one_line_that_any_terminal_can_write(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    shown.encode()
    assert one_line(shown) == shown


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    file = StringIO()
    for name in ("console", "errors"):
        monkeypatch.setattr(room, name, Console(file=file, width=40))
    return file


def test_what_is_said_is_one_line(terminal: StringIO) -> None:
    room.say("part 1: 'x\nall is well\x1b[1A'", room.console)
    assert terminal.getvalue() == "part 1: 'x\\nall is well\\x1b[1A'\n"


def test_an_error_keeps_its_own_lines(terminal: StringIO) -> None:
    room.say_error(OutputError("two things:\n- one\x07\n- two"))
    assert terminal.getvalue() == "bottega: two things:\n- one\\x07\n- two\n"


def test_a_line_of_the_log_is_one_line(terminal: StringIO) -> None:
    room.log_to_console(verbose=True)
    logging.getLogger("bottega.parts").warning(
        "row %r: %s", "id", "x\n2026-11-27 all is well\x1b[2J"
    )
    (line,) = terminal.getvalue().splitlines()
    assert line.endswith("row 'id': x\\n2026-11-27 all is well\\x1b[2J")
