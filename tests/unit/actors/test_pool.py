"""A pool's bookkeeping: who is free, who is to blame, and when it is hopeless."""

from __future__ import annotations

from itertools import count

import pytest

from actors.errors import PoolFailedError
from actors.pool import Pool, PoolCall


class Ready:
    @staticmethod
    def remote() -> int:
        return next(COUNTER)


class Handle:
    ready = Ready


COUNTER = count()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setattr("ray.kill", lambda handle: None)
    pool = Pool("teacher", Handle, size=2, max_deaths=3)
    for worker in pool.start().values():
        pool.loaded(worker)
    return pool


def test_the_least_busy_actor_is_fed_first_and_none_gets_more_than_two(pool: Pool) -> None:
    for expected in (0, 1, 0, 1):
        worker = pool.free()
        assert worker is pool.workers[expected]
        pool.give(worker, PoolCall())
    assert pool.free() is None
    pool.answered(pool.workers[1], pool.workers[1].calls[0], well=True)
    assert pool.free() is pool.workers[1]


def test_the_call_that_it_worked_on_is_guilty(pool: Pool) -> None:
    worker, calls = pool.workers[0], [PoolCall() for _ in range(3)]
    pool.give(worker, calls[0])
    pool.give(worker, calls[1])
    pool.answered(worker, calls[0], well=True)
    pool.give(worker, calls[2])
    pool.died(worker, "killed")
    assert worker.guilty is calls[1]


def test_an_actor_that_may_have_died_idle_blames_nobody(pool: Pool) -> None:
    worker, first, second = pool.workers[0], PoolCall(), PoolCall()
    pool.give(worker, first)
    pool.answered(worker, first, well=True)
    pool.give(worker, second)
    pool.died(worker, "killed")
    assert worker.guilty is None


def test_a_pool_that_never_starts_fails_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.kill", lambda handle: None)
    pool = Pool("teacher", Handle, size=1, max_deaths=3)
    (worker,) = pool.start().values()
    with pytest.raises(PoolFailedError, match="does not start: no such model"):
        pool.died(worker, "no such model")


def test_a_pool_that_loses_actor_after_actor_is_given_up(pool: Pool) -> None:
    def die() -> None:
        pool.died(pool.workers[0], "out of memory")
        for worker in pool.start().values():
            pool.loaded(worker)

    for _ in range(5):
        die()
    worker, call = pool.workers[0], PoolCall()
    pool.give(worker, call)
    pool.answered(worker, call, well=True)  # one answer, and the count begins again
    for _ in range(5):
        die()
    with pytest.raises(PoolFailedError, match="lost actor after actor"):
        die()
