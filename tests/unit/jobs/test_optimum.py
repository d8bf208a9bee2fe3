"""The optimum against brute force, on clusters small enough to try everything."""

from __future__ import annotations

from itertools import product
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.capacity import UNITS, devices_needed
from jobs.optimum import PoolLoad, best_sizes

NAMES = ("student", "oracle", "teacher")


def fits(pools: dict[str, PoolLoad], sizes: tuple[int, ...], count: int) -> bool:
    parts: dict[int, int] = {}
    for pool, size in zip(pools.values(), sizes, strict=True):
        units = round(pool.share * UNITS)
        parts[units] = parts.get(units, 0) + size
    return devices_needed(tuple(sorted(parts.items(), reverse=True))) <= count


def by_brute_force(pools: dict[str, PoolLoad], devices: dict[str, int]) -> float | None:
    """The pace of the best of all allocations."""
    ways = [
        [
            sizes
            for sizes in product(range(2 * count + 1), repeat=len(pools))
            if fits(pools, sizes, count)
            and all(kind in p.seconds or not n for p, n in zip(pools.values(), sizes, strict=True))
        ]
        for kind, count in devices.items()
    ]
    best = None
    for way in product(*ways):
        paces = []
        for n, pool in enumerate(pools.values()):
            by_kind = {kind: sizes[n] for kind, sizes in zip(devices, way, strict=True)}
            most = inf if pool.maximum is None else pool.maximum
            if not pool.minimum <= sum(by_kind.values()) <= most:
                break
            if any(pool.seconds.values()):
                paces.append(sum(m / pool.seconds[kind] for kind, m in by_kind.items() if m))
        else:
            best = max(best or 0.0, min(paces, default=inf))
    return best


SECONDS = st.sampled_from([0.5, 1.0, 1.7, 3.0, 8.0])


@st.composite
def clusters(draw: st.DrawFn, kinds: int) -> tuple[dict[str, PoolLoad], dict[str, int]]:
    names = [f"gpu{n}" for n in range(kinds)]
    most = 4 if kinds == 1 else 2
    devices = {name: draw(st.integers(1, most)) for name in names}
    pools = {}
    for name in NAMES[: 3 if kinds == 1 else 2]:
        usable = draw(st.lists(st.sampled_from(names), min_size=1, max_size=kinds, unique=True))
        least = draw(st.integers(0, 2))
        pools[name] = PoolLoad(
            seconds={kind: draw(SECONDS) for kind in usable},
            share=draw(st.sampled_from([0.5, 0.6, 1.0])),
            minimum=least,
            maximum=draw(st.none() | st.integers(least, 4)),
        )
    return pools, devices


@settings(deadline=None, max_examples=60)
@given(clusters(kinds=1))
def test_on_alike_gpus_it_is_the_best_of_all(
    cluster: tuple[dict[str, PoolLoad], dict[str, int]],
) -> None:
    check(*cluster)


@settings(deadline=None, max_examples=60)
@given(clusters(kinds=2))
def test_on_two_types_of_gpu_it_is_the_best_of_all(
    cluster: tuple[dict[str, PoolLoad], dict[str, int]],
) -> None:
    check(*cluster)


def check(pools: dict[str, PoolLoad], devices: dict[str, int]) -> None:
    found, expected = best_sizes(pools, devices), by_brute_force(pools, devices)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.rows_per_second == pytest.approx(expected)
    for kind, count in devices.items():
        sizes = tuple(by_kind.get(kind, 0) for by_kind in found.sizes.values())
        assert fits(pools, sizes, count)
    for name, by_kind in found.sizes.items():
        assert sum(by_kind.values()) >= pools[name].minimum


def test_the_published_profile_on_eight_gpus() -> None:
    """SD-Turbo and Stable Diffusion 1.5, 30 % refined: two students and six teachers."""
    pools = {
        "student": PoolLoad(seconds={"a100": 0.77 / 16}),
        "teacher": PoolLoad(seconds={"a100": 0.3 * 12.88 / 16}),
    }
    found = best_sizes(pools, {"a100": 8})
    assert found is not None
    assert {name: kinds["a100"] for name, kinds in found.sizes.items()} == {
        "student": 2,
        "teacher": 6,
    }
    bound = 8 / (0.77 / 16 + 0.3 * 12.88 / 16)
    assert bound / found.rows_per_second == pytest.approx(1.11, abs=0.005)


def test_four_thousand_gpus_and_two_large_types_are_no_trouble() -> None:
    pools = {
        "student": PoolLoad(seconds={"a": 0.048, "b": 0.1}, share=0.9),
        "oracle": PoolLoad(seconds={"a": 0.026, "b": 0.026}, share=0.1, minimum=1),
        "teacher": PoolLoad(seconds={"a": 0.2415, "b": 0.3}, share=0.9),
    }
    one = {
        name: PoolLoad(seconds={"a": p.seconds["a"]}, share=p.share) for name, p in pools.items()
    }
    found = best_sizes(one, {"a": 4096})
    assert found is not None
    assert found.rows_per_second > 0.99 * 4096 / (0.048 + 0.2415)
    both = best_sizes(pools, {"a": 300, "b": 300})
    assert both is not None
    assert both.rows_per_second > 0.98 * (300 + 300 * 0.2415 / 0.3) / (0.048 + 0.2415)


def test_a_pool_without_work_needs_no_actor() -> None:
    pools = {"student": PoolLoad(seconds={"a": 1.0}), "teacher": PoolLoad(seconds={"a": 0.0})}
    found = best_sizes(pools, {"a": 3})
    assert found is not None
    assert found.sizes == {"student": {"a": 3}, "teacher": {"a": 0}}
