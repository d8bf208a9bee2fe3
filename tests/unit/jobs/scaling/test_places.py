"""Which sizes the places that a job holds allow, and what can be had of a cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scaling.capacity import Capacity, Devices
from jobs.scaling.initial_sizes import POOLS
from jobs.scaling.places import (
    PoolPlaces,
    capacity_of,
    lesser,
    sizes_by_places,
    sizes_with_room,
    waiting_text,
)

ALL = frozenset(POOLS)
SHARES = {"student": 0.9, "oracle": 0.1, "teacher": 0.9}
EIGHT = Capacity((Devices(8, ALL),), SHARES)


def pools(wanted: tuple[int, int, int], placed: tuple[int, int, int], work: str) -> dict[str, int]:
    """The sizes; `work`: the names of the pools that have calls."""
    return sizes_by_places(
        {
            name: PoolPlaces(wanted=w, placed=p, share=SHARES[name], has_work=name in work)
            for name, w, p in zip(POOLS, wanted, placed, strict=True)
        }
    )


def sizes(student: int, oracle: int, teacher: int) -> dict[str, int]:
    return {"student": student, "oracle": oracle, "teacher": teacher}


@pytest.mark.parametrize(
    ("wanted", "placed", "work", "expected"),
    [
        # Two of eight GPUs, and students have both: one of them makes room for a teacher.
        ((2, 1, 6), (2, 1, 0), "student teacher", sizes(1, 1, 1)),
        # One GPU: the student has it until it has nothing to do.
        ((2, 1, 6), (1, 1, 0), "student teacher", sizes(1, 1, 0)),
        # No place at all: those that have calls go on waiting, one of each.
        ((2, 1, 6), (0, 0, 0), "student", sizes(1, 0, 0)),
        # The teachers lost their GPUs while nothing is left to draw.
        ((0, 1, 4), (0, 1, 0), "teacher", sizes(0, 1, 1)),
        # Two oracles make no room for a teacher.
        ((1, 2, 1), (1, 2, 0), "student", sizes(1, 2, 0)),
        # The oracle gets the place of the second teacher.
        ((1, 1, 3), (1, 0, 2), "oracle", sizes(1, 1, 1)),
    ],
)
def test_every_pool_has_an_actor_before_any_has_two(
    wanted: tuple[int, int, int],
    placed: tuple[int, int, int],
    work: str,
    expected: dict[str, int],
) -> None:
    assert pools(wanted, placed, work) == expected


SMALL = st.tuples(*[st.integers(0, 5)] * 3)


@given(wanted=SMALL, placed=SMALL, work=st.sets(st.sampled_from(POOLS)))
def test_who_has_work_has_a_place_or_waits_for_one(
    wanted: tuple[int, int, int], placed: tuple[int, int, int], work: set[str]
) -> None:
    found = pools(wanted, placed, " ".join(work))
    held = {name: min(w, p) for name, w, p in zip(POOLS, wanted, placed, strict=True)}
    assert all(found[name] <= w for name, w in zip(POOLS, wanted, strict=True))
    may_work = [name for name, w in zip(POOLS, wanted, strict=True) if w and name in work]
    assert not may_work or any(found[name] for name in may_work)
    # Nobody is asked to leave for nothing.
    if sum(found.values()) < sum(held.values()):
        raise AssertionError(found)


def test_what_can_be_had_is_what_is_held_and_what_is_free() -> None:
    had = capacity_of(EIGHT, sizes(1, 1, 0))
    assert had.count == 1
    assert had.fits(sizes(1, 1, 0))
    assert had.fits(sizes(0, 1, 1)), "one after the other"
    assert not had.fits(sizes(1, 1, 1))
    assert capacity_of(EIGHT, sizes(1, 1, 0), {ALL: 2.0}).fits(sizes(1, 1, 2))
    # A dead node's actors may still count as placed.
    assert capacity_of(EIGHT, sizes(4, 0, 0), {ALL: 1.0}, {ALL: 3.0}).count == 3
    assert capacity_of(EIGHT, sizes(4, 0, 0), {ALL: 1.0}, {ALL: 3.0}).fits(sizes(3, 0, 0))
    assert not capacity_of(EIGHT, sizes(4, 0, 0), {ALL: 1.0}, {ALL: 3.0}).fits(sizes(4, 0, 0))


def test_a_part_of_a_gpu_is_no_gpu() -> None:
    """Another job's models are on the rest of it."""
    halves = Capacity((Devices(1, ALL),), {"student": 0.45, "oracle": 0.1, "teacher": 0.45})
    had = capacity_of(halves, sizes(1, 1, 0))
    assert had.fits(sizes(0, 1, 1))
    assert not had.fits(sizes(1, 1, 1))


def test_nodes_of_other_pools_are_no_places() -> None:
    apart = Capacity(
        (
            Devices(2, frozenset({"student", "oracle"})),
            Devices(4, frozenset({"teacher"})),
        ),
        SHARES,
    )
    had = capacity_of(apart, sizes(2, 1, 1))
    assert not had.fits(sizes(1, 1, 2))
    assert had.fits(sizes(2, 0, 1))


def test_cores_are_divisible() -> None:
    cores = Capacity(
        (Devices(2, ALL, volume=2.0, divisible=True),), dict.fromkeys(POOLS, 0.4), "core"
    )
    assert cores.fits(sizes(1, 1, 3)), "five times 0.4"
    assert capacity_of(cores, sizes(1, 1, 0)).fits(sizes(1, 0, 1))
    assert not capacity_of(cores, sizes(1, 1, 0)).fits(sizes(1, 1, 1))


def test_devices_that_come_back_go_to_pools_with_calls() -> None:
    had = capacity_of(EIGHT, sizes(1, 1, 1), {ALL: 3.0})
    queued = {"student": 9, "oracle": 0, "teacher": 9}
    assert sizes_with_room(had, sizes(1, 1, 1), sizes(2, 1, 6), queued) == sizes(2, 1, 3)
    # No more actors than calls; nobody for whom there is nothing to do.
    few = {**queued, "teacher": 1}
    assert sizes_with_room(had, sizes(1, 1, 1), sizes(1, 1, 6), few) == sizes(1, 1, 2)
    assert sizes_with_room(EIGHT, sizes(0, 1, 1), sizes(2, 1, 6), {**queued, "student": 0}) == (
        sizes(0, 1, 6)
    )


def test_only_what_was_free_all_the_time_counts() -> None:
    two, five = (capacity_of(EIGHT, sizes(0, 0, 0), {ALL: free}) for free in (2.0, 5.0))
    assert lesser(two, five) == lesser(five, two) == two


def test_the_line_says_for_how_much_the_job_waits_and_who_has_it() -> None:
    def line(total: float, free: float, held: dict[str, int] | None = None) -> str:
        held = held or sizes(2, 1, 0)
        ours = sum(SHARES[name] * size for name, size in held.items())
        return waiting_text(EIGHT, sizes(2, 1, 2), held, total=total, free=free, ours=ours)

    assert line(8, 0.1) == "waiting for 2 GPUs: 6 of 8 are in use by others"
    assert line(2, 0.1) == "waiting for 2 GPUs: the cluster has 2 now"
    assert "2 of 8 are free, on nodes without" in line(3.9, 2).replace("3.9", "8")
    assert line(1, 0.1, sizes(1, 1, 0)).startswith("waiting for 3 GPUs")
    # A small actor alone takes a GPU too, if there is no other.
    assert line(2, 0, sizes(2, 0, 2)).startswith("waiting for 1 GPU:")
