"""The command's terminal: standard output, standard error and the log."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from actors.redact import RedactingFilter, redact, redacted
from cluster.printable import OneLineFilter, one_line

console = Console()
errors = Console(stderr=True)
log = logging.getLogger("bottega")


class LogFormat(StrEnum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"


def _is_json() -> bool:
    from cluster.json_log import JobFormatter

    return any(isinstance(handler.formatter, JobFormatter) for handler in log.handlers)


class _TimedFormatter(logging.Formatter):
    """Of a log that is read later and searched: whole lines, each with its date."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S")


def _is_timed() -> bool:
    """Whether what is said goes, on this very output, into a log whose lines have their dates."""
    return any(
        isinstance(handler, logging.StreamHandler)
        and isinstance(handler.formatter, _TimedFormatter)
        and handler.stream is console.file
        for handler in log.handlers
    )


def say(line: str, to: Console = console, style: str | None = None) -> None:
    """Print one line as it is: what looks like markup to rich stays, and nothing is wrapped.

    With a log in JSON, or in a file, the line is one more of its own.
    """
    if _is_json() or (_is_timed() and to is console):
        log.info("%s", line)
    else:
        to.print(one_line(line), style=style, highlight=False, markup=False, soft_wrap=True)


def say_error(error: Exception) -> None:
    """Show a user's mistake on standard error, in its own lines; a log in JSON gets it as one."""
    if _is_json():
        log.error("bottega: %s", error)
        return
    for line in f"bottega: {error}".split("\n"):
        say(line, errors, style="red")


def keep_stdout_for_json(wanted: bool) -> None:
    """With `--json` everything that people read goes to standard error."""
    console.stderr = wanted


def print_json(content: dict[str, Any] | list[Any]) -> None:
    """Print what `--json` promises: one object, or for a list one array, and nothing else."""
    kept = [redacted(one) for one in content] if isinstance(content, list) else redacted(content)
    sys.stdout.write(json.dumps(kept, indent=2) + "\n")


def log_to_stderr() -> None:
    """Show warnings on standard error: of verbs whose standard output is their result."""
    handler = RichHandler(console=errors, show_path=False, show_level=False, show_time=False)
    handler.addFilter(RedactingFilter())
    handler.addFilter(OneLineFilter())
    log.handlers = [handler]
    log.setLevel(logging.WARNING)


def lines_of_log() -> Callable[[str], None] | None:
    """What takes the lines of a view where a log does; None where the console shows it."""
    return say if _is_json() or _is_timed() else None


def name_job(identity: str) -> None:
    """The id of the job of the log's lines from now on, where they have a field for it."""
    from cluster.json_log import JobFormatter

    for handler in log.handlers:
        if isinstance(handler.formatter, JobFormatter):
            handler.formatter.job = redact(identity)


def log_to_console(verbose: bool, log_format: LogFormat = LogFormat.TEXT) -> None:
    """Show the log: warnings on a terminal, and every decision with `verbose` or in a file.

    In JSON it has every decision, on standard output, with all that the command says beside it.
    """
    handler: logging.Handler
    as_json = log_format is LogFormat.JSON
    if as_json:
        from cluster.json_log import JobFormatter

        handler = logging.StreamHandler(console.file)
        handler.setFormatter(JobFormatter())
    elif console.is_terminal:
        handler = RichHandler(console=console, show_path=False, show_level=False)
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(_TimedFormatter())
    handler.addFilter(RedactingFilter())
    if not as_json:  # JSON has its own way to write a line break
        handler.addFilter(OneLineFilter())
    log.handlers = [handler]
    everything = verbose or as_json or not console.is_terminal
    log.setLevel(logging.INFO if everything else logging.WARNING)
