"""How a warm actor stands, without Ray: who may make it rest."""

from __future__ import annotations

from threading import Event, Lock

import pytest

from jobs.execution.warm_actor import Lease, Warmth


def lease(ray_job: str) -> Lease:
    return Lease(ray_job=ray_job, name="faces", keep_seconds=60.0)


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> Warmth:
    """An actor that works for driver 02; driver 01 had it before, and died."""
    warmth = object.__new__(Warmth)  # its constructor asks Ray who it is
    warmth._lock, warmth._changed, warmth._is_ending = Lock(), Event(), False
    warmth._lease = warmth._last = lease("02")
    monkeypatch.setattr(warmth, "_speak", lambda: None)
    return warmth


def test_a_rest_that_comes_late_does_not_take_the_actor_from_the_next_job(lent: Warmth) -> None:
    lent.rest("01")
    assert lent._lease == lease("02")


@pytest.mark.parametrize("ray_job", ["02", ""])
def test_its_own_job_makes_it_rest(lent: Warmth, ray_job: str) -> None:
    lent.rest(ray_job)
    assert lent._lease is None
