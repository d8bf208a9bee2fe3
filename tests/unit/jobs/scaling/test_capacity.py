"""How many actors fit: never more than there is room for, and as many as a search finds."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.scaling.capacity import UNITS, Capacity, Devices, devices_needed

SHARES = st.sampled_from([0.1, 0.25, 0.3, 0.4, 0.5, 0.6, 0.9, 1.0, 2.0])
EVERY = frozenset({"student", "oracle", "teacher"})


def fewest_by_brute_force(actors: list[int]) -> int:
    """Every actor into every device that has room, or a new one; whole ones apart."""
    parts = [units for units in actors if units < UNITS]
    best = len(parts)

    def place(rest: list[int], free: list[int]) -> None:
        nonlocal best
        if len(free) >= best and rest:
            return
        if not rest:
            best = min(best, len(free))
            return
        first, *others = rest
        for n, room in enumerate(free):
            if room >= first:
                place(others, [*free[:n], room - first, *free[n + 1 :]])
        place(others, [*free, UNITS - first])

    place(sorted(parts, reverse=True), [])
    return best + sum(units // UNITS for units in actors if units >= UNITS)


@settings(deadline=None)
@given(st.lists(st.tuples(SHARES, st.integers(0, 4)), min_size=1, max_size=3))
def test_actors_take_as_few_devices_as_can_be(actors: list[tuple[float, int]]) -> None:
    counts: dict[int, int] = {}
    for share, number in actors:
        counts[round(share * UNITS)] = counts.get(round(share * UNITS), 0) + number
    every = [units for units, number in counts.items() for _ in range(number)]
    found = devices_needed(tuple(sorted(counts.items(), reverse=True)))
    assert found == fewest_by_brute_force(every)


def test_a_mixture_that_first_fit_wastes_is_packed_by_search() -> None:
    assert devices_needed(((4000, 2), (3000, 4))) == 2


@given(st.integers(1, 4096), SHARES, SHARES)
def test_no_device_of_a_large_cluster_is_taken_twice(count: int, one: float, other: float) -> None:
    capacity = Capacity((Devices(count, EVERY),), {"student": one, "oracle": other, "teacher": 1.0})
    students = capacity.most("student", {"oracle": 3}, 10 * count)
    assert students * one + 3 * other <= count + 1e-9 or students == 0
    assert capacity.most("teacher", {}, 2 * count) == count


def test_a_fraction_has_to_fit_into_one_device() -> None:
    capacity = Capacity((Devices(3, EVERY),), {"student": 0.6, "oracle": 0.4, "teacher": 0.7})
    assert capacity.most("student", {}, 9) == 3
    assert capacity.most("teacher", {"student": 2}, 9) == 1
    assert capacity.most("oracle", {"student": 3}, 9) == 3


def test_pools_with_devices_of_their_own_do_not_touch_those_of_others() -> None:
    own = Devices(2, frozenset({"student", "oracle"})), Devices(5, frozenset({"teacher"}))
    capacity = Capacity(own, {"student": 1.0, "oracle": 1.0, "teacher": 1.0})
    fitting = [
        sizes
        for sizes in product(range(4), range(4), range(7))
        if capacity.fits(dict(zip(("student", "oracle", "teacher"), sizes, strict=True)))
    ]
    assert all(s + o <= 2 and t <= 5 for s, o, t in fitting)
    assert len(fitting) == 6 * 6
