"""Ctrl-C and SIGTERM: the first stops the job cleanly, the second at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster.console import console, errors


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Yields whether the user asked to stop; a second signal raises KeyboardInterrupt."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        # On a terminal above the live view, which is on the same console.
        where = console if console.is_terminal else errors
        where.print("stopping; again to stop at once", highlight=False)

    # Ray sets its own handlers when it starts: ours are set again once it has.
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def stopped() -> bool:
        for number in before:
            if signal.getsignal(number) is not ask:
                signal.signal(number, ask)
        return bool(asked)

    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
