"""A pool's bookkeeping: who is free, who is to blame, and when it is hopeless."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from actors.errors import PoolFailedError
from actors.pool import MAX_NODE_LOSSES, Pool, PoolActor, PoolCall

COUNTER = count()


def make_pool(**fields: Any) -> Pool:
    return Pool(
        "teacher",
        start=lambda: (object(), next(COUNTER)),
        kill=lambda handle: None,
        **{
            "size": 2,
            "micro_batch_size": 8,
            "max_loads": 1,
            "max_deaths": 3,
            "max_raises": 2,
            "max_first_raises": 10,
            "first_call_seconds": 900.0,
            **fields,
        },
    )


@pytest.fixture
def pool() -> Pool:
    pool = make_pool()
    for actor in pool.start():
        pool.loaded(actor)
    return pool


def assign(pool: Pool, actor: PoolActor, now: float = 0.0) -> PoolCall:
    call = PoolCall()
    pool.assign(actor, call, now)
    return call


def answer(pool: Pool, actor: PoolActor, now: float = 0.0, well: bool = True) -> None:
    pool.completed(actor, actor.calls[0], well, now)


def test_who_has_no_place_leaves_first_and_does_not_count_as_placed(pool: Pool) -> None:
    loading, waiting = pool.start_one(), pool.start_one()
    waiting.has_place = False
    assert (pool.num_placed, pool.num_waiting) == (3, 1)
    pool.resize(3)
    assert waiting.leaving
    pool.resize(2)
    assert loading.leaving
    assert [actor.leaving for actor in pool.actors[:2]] == [False, False]


def test_the_least_busy_actor_is_fed_first_and_none_gets_more_than_two(pool: Pool) -> None:
    for expected in (0, 1, 0, 1):
        actor = pool.free(9)
        assert actor is pool.actors[expected]
        assign(pool, actor)
    assert pool.free(9) is None
    answer(pool, pool.actors[1])
    assert pool.free(9) is pool.actors[1]


def test_where_calls_take_long_nobody_gets_a_second_one() -> None:
    """It would wait behind the first, while another actor loads or is free in a moment."""
    pool = make_pool(is_quick=False, size=1)
    (actor,) = pool.start()
    pool.loaded(actor)
    assign(pool, actor)
    assert pool.free(queued=9) is None, "nobody knows how long a call takes"
    answer(pool, actor, now=66.0)
    assign(pool, actor, now=66.0)
    assert pool.free(queued=9) is None
    answer(pool, actor, now=67.0)
    assign(pool, actor, now=67.0)
    assert pool.free(queued=9) is actor, "the first one was slow, as a compiled network's is"


def test_a_pool_of_quick_calls_learns_that_they_are_not(pool: Pool) -> None:
    one, other = pool.actors
    for actor in (one, other, one, other):
        assign(pool, actor)
    assert len(one.calls) == 2
    answer(pool, one, now=30.0)
    answer(pool, one, now=60.0)
    assign(pool, one, now=60.0)
    assert pool.free(queued=9) is None


def test_the_call_that_it_worked_on_is_at_fault(pool: Pool) -> None:
    actor = pool.actors[0]
    assign(pool, actor)
    second = assign(pool, actor)
    answer(pool, actor)
    assign(pool, actor)
    assert actor.at_fault is second


def test_an_actor_that_may_have_died_idle_blames_nobody(pool: Pool) -> None:
    actor = pool.actors[0]
    assign(pool, actor)
    answer(pool, actor)
    assign(pool, actor)
    assert actor.at_fault is None


def test_a_pool_that_never_starts_fails_with_the_cause() -> None:
    pool = make_pool(size=1)
    (actor,) = pool.start()
    with pytest.raises(PoolFailedError, match="does not start: no such model"):
        pool.died(actor, "no such model", permanent=True)


def test_actors_that_are_killed_while_they_load_are_replaced_a_few_times() -> None:
    pool = make_pool(size=1)
    for _ in range(2):
        pool.died(pool.start()[0], "killed")
    with pytest.raises(PoolFailedError, match="does not start: killed"):
        pool.died(pool.start()[0], "killed")


def test_a_pool_that_loses_actor_after_actor_is_given_up(pool: Pool) -> None:
    def die() -> None:
        pool.died(pool.actors[0], "killed")
        for actor in pool.start():
            pool.loaded(actor)

    for _ in range(5):
        die()
    assign(pool, pool.actors[0])
    answer(pool, pool.actors[0])  # one answer, and the count begins again
    for _ in range(5):
        die()
    with pytest.raises(PoolFailedError, match="lost actor after actor"):
        die()


def test_a_call_ages_from_when_its_turn_came(pool: Pool) -> None:
    actor = pool.actors[0]
    assign(pool, actor, now=0)
    assign(pool, actor, now=0)
    answer(pool, actor, now=100)
    assert pool.limit_seconds == 900, "half of the stall timeout bounds what is measured"
    assert pool.hung(now=1000) == []
    assert pool.hung(now=1001) == [actor]


def test_a_call_is_hung_by_what_calls_took_so_far(pool: Pool) -> None:
    actor = pool.actors[0]
    assert pool.limit_seconds == 900
    assign(pool, actor, now=0)
    answer(pool, actor, now=3)
    assert pool.limit_seconds == 60
    assign(pool, actor, now=3)
    answer(pool, actor, now=11)
    assert pool.limit_seconds == 80
    assign(pool, actor, now=11)
    assert pool.hung(now=91) == []
    assert pool.hung(now=92) == [actor]
    assert make_pool(call_seconds=5.0).limit_seconds == 5


def test_a_device_without_room_takes_half_until_one(pool: Pool) -> None:
    assert pool.ran_out_of_memory(8)
    assert pool.micro_batch_size == 4
    assert pool.ran_out_of_memory(8), "a second call of eight was on its way"
    assert pool.micro_batch_size == 4
    assert pool.ran_out_of_memory(4)
    assert pool.ran_out_of_memory(2)
    assert not pool.ran_out_of_memory(1)
    assert pool.micro_batch_size == 1


def test_an_actor_that_raises_again_and_again_is_to_be_replaced(pool: Pool) -> None:
    actor = pool.actors[0]
    assert not pool.raised(actor, "bad")
    assign(pool, actor)
    answer(pool, actor)  # one good answer, and the count begins again
    assert not pool.raised(actor, "bad")
    assert pool.raised(actor, "bad")


def test_where_a_new_actor_did_not_help_the_next_is_borne_with_for_longer() -> None:
    pool = make_pool(size=1, max_first_raises=100)
    replaced_after = []
    for _ in range(4):
        (actor,) = pool.start()
        pool.loaded(actor)
        raises = 1
        while not pool.raised(actor, "bad"):
            raises += 1
        replaced_after.append(raises)
        pool.retire(actor)
    assert replaced_after == [2, 4, 8, 16]
    (actor,) = pool.start()
    assign(pool, actor)
    answer(pool, actor)
    assert [pool.raised(actor, "bad") for _ in range(2)] == [False, True]


def test_a_model_that_fails_at_every_call_ends_the_job_with_the_cause(pool: Pool) -> None:
    for _ in range(10):
        pool.raised(pool.actors[0], "bad")
    with pytest.raises(
        PoolFailedError, match="every call of the teacher failed; the last: no bias"
    ):
        pool.raised(pool.actors[1], "no bias")


def test_once_a_call_ended_well_no_number_of_raises_ends_the_job(pool: Pool) -> None:
    assign(pool, pool.actors[0])
    answer(pool, pool.actors[0])
    for _ in range(100):
        pool.raised(pool.actors[1], "bad")


def test_a_smaller_pool_lets_the_least_busy_go_when_they_are_done(pool: Pool) -> None:
    busy, idle = pool.actors
    assign(pool, busy)
    pool.resize(1)
    assert pool.dismiss_leaving() == [idle]
    pool.resize(0)
    assert pool.dismiss_leaving() == []
    assert pool.free(9) is None, "who leaves gets nothing more"
    answer(pool, busy)
    assert pool.dismiss_leaving() == [busy]
    assert pool.actors == []


def test_who_still_loads_goes_first_and_who_is_wanted_again_stays(pool: Pool) -> None:
    pool.resize(3)
    (loading,) = pool.start()
    pool.resize(2)
    assert pool.dismiss_leaving() == [loading]
    assign(pool, pool.actors[0])
    assign(pool, pool.actors[1])
    pool.resize(1)
    assert pool.num_leaving == 1
    pool.resize(2)
    assert (pool.num_leaving, pool.num_missing) == (0, 0)


def test_the_last_calls_go_to_whoever_is_free(pool: Pool) -> None:
    assign(pool, pool.actors[0])
    assign(pool, pool.actors[1])
    assert pool.free(queued=1) is None
    assert pool.free(queued=2) is pool.actors[0]


def test_a_leaving_actor_that_dies_is_not_replaced(pool: Pool) -> None:
    assign(pool, pool.actors[0])
    assign(pool, pool.actors[1])
    pool.resize(1)
    (leaving,) = (actor for actor in pool.actors if actor.leaving)
    pool.died(leaving, "killed")
    assert (pool.num_leaving, pool.num_missing) == (0, 0)


def test_actors_lost_with_their_nodes_count_apart_and_not_without_end() -> None:
    pool = make_pool(size=4, max_loads=1, max_deaths=1)
    for _ in range(MAX_NODE_LOSSES):
        for actor in pool.start():
            pool.lost_with_node(actor, "its node has died")
    with pytest.raises(PoolFailedError, match=r"nodes of the teacher pool are lost .* has died"):
        pool.lost_with_node(pool.start()[0], "its node has died")


def test_a_completion_forgets_the_nodes_that_were_lost() -> None:
    pool = make_pool(size=1)
    for _ in range(3 * MAX_NODE_LOSSES):
        actor = pool.start()[0]
        pool.loaded(actor)
        assign(pool, actor)
        answer(pool, actor)
        pool.lost_with_node(actor, "its node has died")
