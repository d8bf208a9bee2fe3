"""Unit tests are pure: they can neither start Ray nor sleep."""

from __future__ import annotations

import logging
import time
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def _pure(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_sleep(_seconds: float) -> NoReturn:
        raise AssertionError("a unit test slept; wait for a condition, or move it to tests/cluster")

    def no_ray(*_args: object, **_kwargs: object) -> NoReturn:
        raise AssertionError("a unit test started Ray; move it to tests/cluster")

    monkeypatch.setattr(time, "sleep", no_sleep)
    monkeypatch.setattr("ray.init", no_ray)


@pytest.fixture(autouse=True)
def _own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets the log of its process, and how it says things follows from that: what it set
    ends with its test."""
    logger = logging.getLogger("bottega")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
