"""Warm actors: who gets one, who gives way, and what a job begins with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scaling.capacity import Capacity, Devices
from jobs.scaling.warm_actors import (
    CLAIM_SECONDS,
    LIVES_SECONDS,
    Need,
    Node,
    WarmActor,
    WarmActors,
    giving_way,
    idle_by_node,
    sizes_with_warm,
)


def warm(role: str = "teacher", **fields: Any) -> WarmActor:
    gpus = {"student": 0.9, "oracle": 0.1, "teacher": 0.9}[role]
    given = {"key": role, "owner": "faces", "node": "a", "seconds_left": 900.0, "gpus": gpus}
    return WarmActor(role=role, model="m", **{**given, "devices": ("0",), "cpus": 1.0, **fields})


def spoken(now: float = 0.0, **actors: WarmActor) -> WarmActors:
    found = WarmActors()
    for name, actor in actors.items():
        found.speak(name, actor, now)
    return found


# ---- one job gets it


def test_of_two_jobs_that_want_the_same_actor_one_gets_it() -> None:
    there = spoken(one=warm())
    assert there.claim("teacher", 1.0) == "one"
    assert there.claim("teacher", 1.0) is None
    assert there.idle(1.0) == {}


def test_an_actor_with_another_model_fits_nobody_else() -> None:
    assert spoken(one=warm(key="sdxl")).claim("sd-1.5", 0.0) is None


def test_an_actor_whose_job_died_before_it_came_is_had_again() -> None:
    """It goes on saying that nobody came."""
    there = spoken(one=warm())
    there.claim("teacher", 0.0)
    for now in range(0, int(CLAIM_SECONDS) + 5, 5):
        there.speak("one", warm(seconds_left=900 - now), float(now))
    assert there.claim("teacher", CLAIM_SECONDS + 1) == "one"


def test_an_actor_that_worked_and_rests_again_is_had_at_once() -> None:
    there = spoken(one=warm())
    there.claim("teacher", 0.0)
    there.forget("one")
    there.speak("one", warm(), 3.0)
    assert there.claim("teacher", 3.0) == "one"


def test_an_actor_that_says_nothing_more_is_gone() -> None:
    there = spoken(one=warm())
    assert there.idle(LIVES_SECONDS - 1)["one"].seconds_left == 900 - LIVES_SECONDS + 1
    assert there.idle(LIVES_SECONDS) == {}


def test_the_time_of_an_actor_ends_without_a_word() -> None:
    there = spoken(one=warm(seconds_left=7.0))
    assert set(there.idle(6.0)) == {"one"}
    assert there.claim("teacher", 7.0) is None


def test_who_is_claimed_does_not_give_way() -> None:
    there = spoken(one=warm(), two=warm())
    claimed = there.claim("teacher", 0.0)
    assert there.take(["one", "two"], 0.0) == [({"one", "two"} - {claimed}).pop()]
    assert there.idle(0.0) == {}


# ---- max_gpus


def test_actors_beyond_their_owners_gpus_end_those_with_the_least_time_first() -> None:
    there = spoken(
        old=warm(seconds_left=100.0),
        new=warm(seconds_left=800.0),
        small=warm("oracle", seconds_left=50.0),
        other=warm(owner="cars"),
    )
    assert there.beyond("faces", 1, 0.0) == ["old"]
    assert there.beyond("faces", 2, 0.0) == []
    assert there.beyond("faces", 0, 0.0) == ["new", "old", "small"]


def test_an_actor_that_rests_counts_against_its_owner_at_once() -> None:
    there = spoken(old=warm(seconds_left=100.0))
    assert there.speak("new", warm(max_gpus=1), 1.0) == ["old"]


# ---- giving way


def node(name: str = "a", **free: Any) -> Node:
    return Node(id=name, **{"cpus": 8.0, **free})


def test_nobody_gives_way_to_an_actor_that_finds_room() -> None:
    assert giving_way([Need(gpus=0.9)], [node(gpus=1.0)], {"one": warm()}) == []


def test_no_more_actors_give_way_than_have_to() -> None:
    idle = {"t": warm(), "o": warm("oracle"), "u": warm(devices=("1",))}
    assert giving_way([Need(gpus=0.9)], [node()], idle) == ["t"]
    assert set(giving_way([Need(gpus=0.9)] * 2, [node()], idle)) == {"t", "u"}
    assert set(giving_way([Need(gpus=1.0)], [node()], idle)) == {"t", "o"}


def test_who_could_not_make_room_alone_stays() -> None:
    """The others of the node work for jobs."""
    assert giving_way([Need(gpus=0.9)], [node()], {"o": warm("oracle")}) == []


def test_cores_are_made_room_for_as_well() -> None:
    idle = {"one": warm(gpus=0.0, devices=())}
    assert giving_way([Need(cpus=1.0)], [node(cpus=0.5)], idle) == ["one"]
    assert giving_way([Need(gpus=0.9)], [node(cpus=0.0)], idle) == []


def test_room_is_made_on_nodes_that_the_actor_may_use() -> None:
    nodes = [node("a"), node("b", labels={"bottega-pool": "teacher"})]
    idle = {"here": warm(), "there": warm(node="b")}
    wants = Need(gpus=0.9, labels={"bottega-pool": "teacher"})
    assert giving_way([wants], nodes, idle) == ["there"]


def test_an_actor_that_waits_in_vain_has_a_whole_node_give_way() -> None:
    """Tenths of ten GPUs are free, and no GPU is."""
    idle = {str(n): warm("oracle", devices=(str(n),)) for n in range(2)}
    nodes = [node(gpus=1.8)]
    assert giving_way([Need(gpus=1.0)], nodes, idle) == []
    assert set(giving_way([Need(gpus=1.0, in_vain=True)], nodes, idle)) == {"0", "1"}


@given(
    st.lists(st.sampled_from([0.1, 0.45, 0.9, 1.0]), max_size=4),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("012")), max_size=6),
    st.tuples(*[st.sampled_from([0.0, 0.1, 1.0])] * 2),
)
def test_room_is_made_where_it_can_be(
    wanted: list[float], places: list[tuple[str, str]], free: tuple[float, float]
) -> None:
    idle = {str(n): warm(node=at, devices=(gpu,)) for n, (at, gpu) in enumerate(places)}
    nodes = [node(name, gpus=gpus) for name, gpus in zip("ab", free, strict=True)]
    ending = giving_way([Need(gpus=gpus) for gpus in wanted], nodes, idle)
    assert len(ending) == len(set(ending))
    assert len(ending) <= 2 * len(wanted)
    had = {at: gpus + sum(a.gpus for a in idle.values() if a.node == at) for at, gpus in
           zip("ab", free, strict=True)}  # fmt: skip
    if len(wanted) == 1 and max(had.values()) >= wanted[0]:
        room = {at: gpus + sum(idle[e].gpus for e in ending if idle[e].node == at) for at, gpus in
                zip("ab", free, strict=True)}  # fmt: skip
        assert max(room.values()) >= wanted[0] - 1e-6


def test_what_warm_actors_have_counts_by_node() -> None:
    actors = [warm(), warm("oracle"), warm(node="b")]
    found = idle_by_node(actors)
    assert found["a"] == (2.0, pytest.approx(1.0))
    assert found["b"] == (1.0, 0.9)


# ---- the sizes of a job that finds actors

SHARES = {"student": 0.9, "oracle": 0.1, "teacher": 0.9}
ENDLESS = dict.fromkeys(SHARES, 100)


def sizes(gpus: int, warm: dict[str, int], **planned: int) -> dict[str, int]:
    everybody = Capacity((Devices(gpus, frozenset(SHARES)),), SHARES)
    return sizes_with_warm(everybody, planned, warm, ENDLESS)


def test_a_job_begins_with_the_actors_that_it_finds() -> None:
    found = {"student": 1, "oracle": 1, "teacher": 1}
    assert sizes(2, found, student=2, oracle=1, teacher=0) == found
    planned = {"student": 2, "oracle": 1, "teacher": 2}
    assert sizes(4, found, **planned) == planned


def test_a_pool_without_a_warm_actor_begins_with_one_all_the_same() -> None:
    assert sizes(2, {"teacher": 2}, student=1, oracle=1, teacher=1) == {
        "student": 1,
        "oracle": 1,
        "teacher": 1,
    }


def test_without_warm_actors_the_sizes_are_as_planned() -> None:
    planned = {"student": 2, "oracle": 1, "teacher": 0}
    assert sizes(2, {"student": 0}, **planned) == planned
