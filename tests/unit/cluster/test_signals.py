"""Signals to this very process; tests/cluster sends them to a real command."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from io import StringIO

import pytest

from actors.errors import InterruptedJobError
from cluster import signals
from cluster.session import _our_signals
from cluster.signals import STOPPING, stopping, stopping_at_once


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPPING}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_asks_and_the_handlers_before_are_back_at_the_end(
    number: signal.Signals,
) -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    with stopping() as stopped:
        assert not stopped()
        os.kill(os.getpid(), number)
        assert stopped()
    assert [signal.getsignal(each) for each in STOPPING] == before


def test_a_second_signal_stops_at_once_and_a_second_hangup_does_not() -> None:
    with stopping() as stopped:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """`nohup bottega run`."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopping() as stopped:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stopped()


@pytest.mark.parametrize("number", STOPPING)
def test_a_job_that_sigterm_stopped_was_cancelled(number: signal.Signals) -> None:
    def job() -> None:
        with stopping():
            os.kill(os.getpid(), number)
            raise InterruptedJobError("stopped. Finished parts are safe.")

    with pytest.raises(InterruptedJobError, match="parts are safe") as ended:
        job()
    assert ended.value.exit_code == (4 if number == signal.SIGTERM else 130)


class _Gone(StringIO):
    def write(self, _text: str) -> int:
        raise OSError(5, "Input/output error")

    def isatty(self) -> bool:
        return True


def test_nothing_is_written_to_a_terminal_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (signals.console, signals.errors):
        monkeypatch.setattr(each, "_force_terminal", True)
        monkeypatch.setattr(each, "_file", _Gone())
    with stopping() as stopped:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stopped()
    signals.console.print("the view ends")


@pytest.mark.parametrize("number", STOPPING)
def test_before_the_job_a_signal_ends_it_at_once(number: signal.Signals) -> None:
    with (
        stopping() as stopped,
        pytest.raises(InterruptedJobError, match="Nothing had started") as ended,
        stopping_at_once(),
    ):
        os.kill(os.getpid(), number)
    assert ended.value.exit_code == (4 if number == signal.SIGTERM else 130)
    assert not stopped()


def test_ray_keeps_a_handler_of_ours_while_it_starts_and_sets_its_own_without_one() -> None:
    from ray._private import utils

    def theirs(*_: object) -> None: ...

    with stopping():
        ours = signal.getsignal(signal.SIGTERM)
        with _our_signals():
            utils.set_sigterm_handler(theirs)
            assert signal.getsignal(signal.SIGTERM) is ours
            assert (
                signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            )  # and Ray's processes inherit it
        assert signal.getsignal(signal.SIGHUP) is ours
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with _our_signals():
        utils.set_sigterm_handler(theirs)
        assert signal.getsignal(signal.SIGTERM) is theirs
