"""The command's terminal: standard output, standard error and the log."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler

from actors.redact import RedactingFilter
from cluster.printable import OneLineFilter, one_line

console = Console()
errors = Console(stderr=True)


def say(line: str, to: Console = console, style: str | None = None) -> None:
    """Print one line as it is: what looks like markup to rich stays, and nothing is wrapped."""
    to.print(one_line(line), style=style, highlight=False, markup=False, soft_wrap=True)


def say_error(error: Exception) -> None:
    """Show a user's mistake on standard error, in its own lines."""
    for line in f"bottega: {error}".split("\n"):
        say(line, errors, style="red")


def log_to_console(verbose: bool) -> None:
    """Show the log: warnings on a terminal, and every decision with `verbose` or in a file."""
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, show_level=False)
    else:
        # A file is read later and searched: whole lines, each with its date.
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    handler.addFilter(RedactingFilter())
    handler.addFilter(OneLineFilter())
    logger = logging.getLogger("bottega")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose or not console.is_terminal else logging.WARNING)
