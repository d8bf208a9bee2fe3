"""The pool sizes that let most rows through a fixed set of devices: exact, in whole actors.

The pools stand in a row, and the slowest of them sets the pace: the optimum is the allocation whose
slowest pool is fastest. A pool's speed may differ by the kind of GPU, and so may the kinds that it
can use at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil, floor, inf, prod

from jobs.capacity import UNITS, devices_needed

SMALL = 4
"""Devices of each kind in the small cluster from which the approach starts."""

MAX_ALLOCATIONS = 20_000
"""With several kinds: beyond so many allocations the optimum is approached actor by actor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLoad:
    """`seconds`: what one row of the dataset costs an actor of the pool, by kind of device.

    For the teacher that is its seconds for a row times the fraction of rows that it gets. Kinds
    that are left out cannot be used. `share`: of a device, for one actor.
    """

    seconds: Mapping[str, float]
    share: float = 1.0
    minimum: int = 0
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Optimum:
    """`sizes`: by pool and kind. `rows_per_second`: of the slowest pool."""

    sizes: dict[str, dict[str, int]]
    rows_per_second: float


def best_sizes(pools: Mapping[str, PoolLoad], devices: Mapping[str, int]) -> Optimum | None:
    """The sizes with the highest throughput, and no more actors than it needs; None if none fit.

    devices: how many there are, by kind.
    """
    if len(devices) == 1:
        return _on_one_kind(pools, *devices.items())
    allocations = _allocations(pools, devices)
    if allocations is None:
        return _climbed(pools, devices)
    fitting = [sizes for sizes in allocations if _within_limits(pools, sizes)]
    best = max(fitting, key=lambda sizes: _pace(pools, sizes), default=None)
    return None if best is None else Optimum(best, _pace(pools, best))


def _pace(pools: Mapping[str, PoolLoad], sizes: Mapping[str, Mapping[str, int]]) -> float:
    return min(_rate(pools[name], by_kind) for name, by_kind in sizes.items())


def _rate(pool: PoolLoad, by_kind: Mapping[str, int]) -> float:
    """Rows of the dataset a second that so many actors keep up with."""
    if not any(pool.seconds.values()):
        return inf
    return sum(n / pool.seconds[kind] for kind, n in by_kind.items() if n)


def _most(pool: PoolLoad) -> float:
    return inf if pool.maximum is None else pool.maximum


def _within_limits(pools: Mapping[str, PoolLoad], sizes: Mapping[str, Mapping[str, int]]) -> bool:
    totals = {name: sum(by_kind.values()) for name, by_kind in sizes.items()}
    return all(pools[name].minimum <= total <= _most(pools[name]) for name, total in totals.items())


def _fit(pools: Mapping[str, PoolLoad], sizes: Mapping[str, int], count: int) -> bool:
    parts: dict[int, int] = {}
    for name, size in sizes.items():
        units = round(pools[name].share * UNITS)
        parts[units] = parts.get(units, 0) + size
    return devices_needed(tuple(sorted(parts.items(), reverse=True))) <= count


# ---- one kind: the pace is that of some pool at some size, and more pace needs more actors


def _on_one_kind(pools: Mapping[str, PoolLoad], devices: tuple[str, int]) -> Optimum | None:
    kind, count = devices

    def needed(pace: float) -> dict[str, int] | None:
        """The fewest actors for a pace; None if that is more than there may be."""
        sizes = {}
        for name, pool in pools.items():
            # A pace of n / seconds needs n actors, whatever the rounding.
            seconds = pool.seconds.get(kind, inf if any(pool.seconds.values()) else 0.0)
            size = max(pool.minimum, ceil(pace * seconds * (1 - 1e-12))) if seconds else 0
            size = max(pool.minimum, size)
            if size > (inf if pool.maximum is None else pool.maximum):
                return None
            sizes[name] = size
        return sizes if _fit(pools, sizes, count) else None

    if needed(0.0) is None:
        return None
    best = 0.0
    for pool in pools.values():
        seconds = pool.seconds.get(kind, 0.0)
        if not seconds:
            continue
        low, high = 0, floor(count / pool.share) if pool.share else pool.maximum or count
        while low < high:
            middle = (low + high + 1) // 2
            if needed(middle / seconds) is None:
                high = middle - 1
            else:
                low = middle
        best = max(best, low / seconds)
    sizes = needed(best)
    assert sizes is not None
    found = {name: {kind: size} for name, size in sizes.items()}
    return Optimum(found, _pace(pools, found))


# ---- several kinds


def _packings(pools: Mapping[str, PoolLoad], kind: str, count: int) -> list[dict[str, int]] | None:
    """Every way to fill the devices of a kind; None if too many.

    Full ones only, unless a pool may be limited to less than what fits.
    """
    most = {
        name: min(
            floor(count / pool.share) if pool.share else count,
            inf if pool.maximum is None else pool.maximum,
        )
        if kind in pool.seconds
        else 0
        for name, pool in pools.items()
    }
    *others, last = pools
    may_be_short = any(pool.maximum is not None for pool in pools.values())
    if prod(int(most[name]) + 1 for name in (pools if may_be_short else others)) > MAX_ALLOCATIONS:
        return None
    found = []
    for numbers in product(*(range(int(most[name]) + 1) for name in others)):
        sizes = dict(zip(others, numbers, strict=True))
        if _fit(pools, sizes, count):
            low, high = 0, int(most[last])
            while low < high:
                middle = (low + high + 1) // 2
                fits = _fit(pools, {**sizes, last: middle}, count)
                low, high = (middle, high) if fits else (low, middle - 1)
            found += [{**sizes, last: n} for n in range(0 if may_be_short else low, low + 1)]
    return found


def _allocations(
    pools: Mapping[str, PoolLoad], devices: Mapping[str, int]
) -> list[dict[str, dict[str, int]]] | None:
    """All that can be best: what another has more of everywhere is left out; None if too many."""
    kept: list[dict[str, dict[str, int]]] = [{name: {} for name in pools}]
    for kind, count in devices.items():
        packings = _packings(pools, kind, count)
        if packings is None or len(kept) * len(packings) > MAX_ALLOCATIONS:
            return None
        longer = [
            {name: {**sizes[name], kind: packing[name]} for name in pools}
            for sizes in kept
            for packing in packings
        ]
        kept = _not_dominated(pools, longer)
    return kept


def _not_dominated(
    pools: Mapping[str, PoolLoad], allocations: list[dict[str, dict[str, int]]]
) -> list[dict[str, dict[str, int]]]:
    """Of allocations with the same numbers of limited actors, those that none beats at all."""
    alike: dict[tuple[int, ...], list[tuple[tuple[float, ...], dict[str, dict[str, int]]]]] = {}
    limited = [name for name, p in pools.items() if p.minimum or p.maximum is not None]
    for sizes in allocations:
        key = tuple(sum(sizes[name].values()) for name in limited)
        rates = tuple(_rate(pools[name], by_kind) for name, by_kind in sizes.items())
        alike.setdefault(key, []).append((rates, sizes))
    kept = []
    for group in alike.values():
        group.sort(key=lambda one: one[0], reverse=True)
        front: list[tuple[float, ...]] = []
        for rates, sizes in group:
            if not any(all(a >= b for a, b in zip(f, rates, strict=True)) for f in front):
                front.append(rates)
                kept.append(sizes)
    return kept


def _climbed(pools: Mapping[str, PoolLoad], devices: Mapping[str, int]) -> Optimum | None:
    """For large clusters: the optimum of a small one alike, then better by moving actors."""
    scale = ceil(max(devices.values()) / SMALL)
    smaller = {kind: count // scale for kind, count in devices.items()}
    unlimited = {n: PoolLoad(seconds=p.seconds, share=p.share) for n, p in pools.items()}
    allocations = _allocations(unlimited, smaller)
    if allocations is None:
        return None
    start = max(allocations, key=lambda sizes: _pace(pools, sizes))
    sizes = {
        name: {kind: scale * n for kind, n in by_kind.items()} for name, by_kind in start.items()
    }
    for name, pool in pools.items():
        for kind in devices:
            over = sum(sizes[name].values()) - (inf if pool.maximum is None else pool.maximum)
            sizes[name][kind] -= int(max(0, min(sizes[name][kind], over)))
    step = max(devices.values())
    while step:
        better = _step(pools, devices, sizes, step)
        if better is None:
            step //= 2
        else:
            sizes = better
    return Optimum(sizes, _pace(pools, sizes)) if _within_limits(pools, sizes) else None


def _step(
    pools: Mapping[str, PoolLoad],
    devices: Mapping[str, int],
    sizes: dict[str, dict[str, int]],
    step: int,
) -> dict[str, dict[str, int]] | None:
    """The first change that lets more rows through.

    A change: `step` more actors of a pool on a kind, in place of another's, or of nobody's; or that
    and the reverse on another kind.
    """
    before = _merit(pools, sizes)
    moves = [
        (gains, loses, kind)
        for kind in devices
        for gains in pools
        for loses in (None, *pools)
        if kind in pools[gains].seconds and loses != gains
    ]
    back = [
        (move, (move[1], move[0], kind))
        for move in moves
        for kind in devices
        if move[1] and kind != move[2] and kind in pools[move[1]].seconds
    ]
    for change in [*((move,) for move in moves), *back]:
        changed = {name: dict(by_kind) for name, by_kind in sizes.items()}
        for gains, loses, kind in change:
            assert gains is not None
            changed[gains][kind] = changed[gains].get(kind, 0) + step
            if loses:
                freed = ceil(step * pools[gains].share / (pools[loses].share or 1.0))
                changed[loses][kind] = max(0, changed[loses].get(kind, 0) - freed)
        fits = all(
            _fit(pools, {name: by_kind.get(kind, 0) for name, by_kind in changed.items()}, count)
            for kind, count in devices.items()
        )
        allowed = all(
            pool.maximum is None or sum(changed[name].values()) <= pool.maximum
            for name, pool in pools.items()
        )
        if fits and allowed and _merit(pools, changed) > before:
            return changed
    return None


def _merit(
    pools: Mapping[str, PoolLoad], sizes: Mapping[str, Mapping[str, int]]
) -> tuple[float, ...]:
    """What is short of the minima, then the pace, then that of the faster pools."""
    short = sum(max(0, p.minimum - sum(sizes[n].values())) for n, p in pools.items())
    rates = sorted(_rate(pools[n], by_kind) for n, by_kind in sizes.items())
    return -short, *rates[:2]
