"""Ctrl-C, SIGTERM and SIGHUP: the first stops the job cleanly, the second at once.

A job that SIGTERM stopped was cancelled, and has an exit code of its own: `bottega cancel`,
`ray job stop` and Kubernetes send it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from actors.errors import CancelledJobError, InterruptedJobError
from cluster.console import console, errors, log

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Yields whether the user asked to stop; a second signal raises KeyboardInterrupt.

    A second hangup does not: when a terminal closes, the shell sends one too. The error of a job
    that stopped for SIGTERM becomes a CancelledJobError.
    """
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        if asked and number == signal.SIGHUP:
            return
        if asked:
            raise KeyboardInterrupt
        # While Ray starts, its C++ gets the signal first, and sets an alarm that would abort us.
        signal.alarm(0)
        asked.append(number)
        # Like every line of the log, with its time. RuntimeError: the signal came within a write.
        with suppress(OSError, RuntimeError):
            log.warning("stopping; again to stop at once")

    def stopped() -> bool:
        return bool(asked)

    with _handling(ask):
        try:
            yield stopped
        except InterruptedJobError as error:
            raise _of_signal(asked[0] if asked else None, error) from None


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """For what comes before the job: nothing has started, so the first signal ends it at once.

    Raises InterruptedJobError, or for SIGTERM CancelledJobError.
    """
    asked: list[int] = []

    def end(number: int, _frame: object) -> None:
        asked.append(number)
        raise KeyboardInterrupt  # which no library's `except Exception` catches

    with _handling(end):
        try:
            yield
        except KeyboardInterrupt:
            error = InterruptedJobError("stopped. Nothing had started yet.")
            raise _of_signal(asked[0] if asked else None, error) from None


def _of_signal(number: int | None, error: InterruptedJobError) -> InterruptedJobError:
    if number == signal.SIGTERM:
        return CancelledJobError(str(error))
    return error


@contextmanager
def _handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle these signals; a hangup that is ignored already, as by `nohup`, stays ignored."""
    before = {
        number: signal.getsignal(number)
        for number in STOPPING
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _leave_terminal() -> None:
    """Write nowhere from now on: to write to a terminal that is gone is an error."""
    for each in (console, errors):
        if each.is_terminal:
            each.file = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  until the end
