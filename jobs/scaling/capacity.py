"""How many actors fit: devices (GPUs or cores), an actor's share of one, and who may use which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import ceil, inf

UNITS = 10_000
"""Units of a device: Ray's own precision for fractions of a resource."""

EXACT_ACTORS = 40
"""Up to this many actors that share devices are packed by search; more, by first fit decreasing.
Measured on 40 random mixes of three shares, worst case: 0.1 s of a core with 40 actors, 0.5 s with
60. The search saved a device in 2 of them with 40 actors, in 5 with 60.
"""


@dataclass(frozen=True, slots=True)
class Devices:
    """GPUs or cores that are alike, and the pools that may use them.

    `volume`: where others use some: no more of the devices than this can be had, in shares. Where
    they are `divisible`, as cores are, an actor may have parts of several, and only it counts.
    """

    count: int
    pools: frozenset[str]
    volume: float = inf
    divisible: bool = False

    def has_at_most(self, other: Devices) -> bool:
        """Whether the other devices are as many or more."""
        volume = min(other.volume, float(other.count))
        return (
            min(self.volume, float(self.count)) <= volume + 1 / UNITS and self.count <= other.count
        )


@dataclass(frozen=True)
class Capacity:
    """The devices that a cluster has for actors. `shares`: by pool, an actor's share of a device.

    A fraction has to fit into one device; an actor of more than one takes whole ones. `elastic`:
    an autoscaler may bring up to these devices; those that nobody uses cost nothing.
    """

    devices: tuple[Devices, ...]
    shares: Mapping[str, float]
    unit: str = "GPU"
    elastic: bool = False

    @property
    def count(self) -> int:
        """Of all devices."""
        return sum(devices.count for devices in self.devices)

    def fits(self, sizes: Mapping[str, int]) -> bool:
        """Whether actors of these numbers fit, placed well.

        Every set of pools must find room in the devices that any of them may use. That is exact
        where all pools may use all devices, and where no two pools have a device in common.
        """
        used = [name for name, size in sizes.items() if size and self.shares[name]]
        if len(self.devices) == 1 and self.devices[0].pools.issuperset(used):
            return self._have_room(used, sizes, self.devices)
        for number in range(1, len(used) + 1):
            for names in combinations(used, number):
                devices = [d for d in self.devices if not d.pools.isdisjoint(names)]
                if not self._have_room(names, sizes, devices):
                    return False
        return True

    def _have_room(
        self, names: Sequence[str], sizes: Mapping[str, int], devices: Sequence[Devices]
    ) -> bool:
        volume = sum(self.shares[name] * sizes[name] for name in names)
        if volume > sum(each.volume for each in devices) + 1 / UNITS:
            return False
        if any(each.divisible for each in devices):
            return True
        return self._needed(names, sizes) <= sum(each.count for each in devices)

    def needed_for(self, sizes: Mapping[str, int]) -> int:
        """The fewest devices for actors of these numbers."""
        return self._needed([name for name in sizes if self.shares[name]], sizes)

    def most(self, pool: str, sizes: Mapping[str, int], at_most: int) -> int:
        """The most actors of a pool, up to `at_most`, that fit beside the others' `sizes`.

        Also 0 where the others alone do not fit.
        """
        others = tuple((name, size) for name, size in sizes.items() if size and name != pool)
        return _most(self.devices, tuple(self.shares.items()), pool, others, at_most)

    def _needed(self, names: Sequence[str], sizes: Mapping[str, int]) -> int:
        counts: dict[int, int] = {}
        for name in names:
            units = round(self.shares[name] * UNITS)
            counts[units] = counts.get(units, 0) + sizes[name]
        return devices_needed(tuple(sorted(counts.items(), reverse=True)))


@lru_cache(maxsize=4096)
def _most(
    devices: tuple[Devices, ...],
    shares: tuple[tuple[str, float], ...],
    pool: str,
    others: tuple[tuple[str, int], ...],
    at_most: int,
) -> int:
    capacity, sizes = Capacity(devices, dict(shares)), dict(others)
    low, high = 0, at_most
    while low < high:
        middle = (low + high + 1) // 2
        if capacity.fits({**sizes, pool: middle}):
            low = middle
        else:
            high = middle - 1
    return low


@lru_cache(maxsize=4096)
def devices_needed(counts: tuple[tuple[int, int], ...]) -> int:
    """The fewest devices for `counts` of (units of a device, actors), the largest units first.

    Exact for up to EXACT_ACTORS, and where first fit decreasing needs no more devices than the
    volume does, or than the actors of which no two can share a device.
    """
    whole = sum(n * ceil(units / UNITS) for units, n in counts if units >= UNITS)
    parts = tuple((units, n) for units, n in counts if 0 < units < UNITS and n)
    found = _first_fit(parts)
    large = sum(n for units, n in parts if 2 * units > UNITS)
    least = max(large, ceil(sum(units * n for units, n in parts) / UNITS))
    if found > least and sum(n for _, n in parts) <= EXACT_ACTORS:
        found = _fewest(parts)
    return whole + found


def _first_fit(parts: tuple[tuple[int, int], ...]) -> int:
    """First fit decreasing. Devices filled alike are counted, not listed, as they may be many."""
    filled: list[tuple[int, int]] = []
    for units, number in parts:
        left, after = number, []
        for free, devices in filled:
            each = min(free // units, left) if left else 0
            full = min(devices, left // each) if each else 0
            left -= full * each
            if full:
                after.append((free - each * units, full))
            rest = devices - full
            if rest and each and left:
                after.append((free - left * units, 1))
                left, rest = 0, rest - 1
            if rest:
                after.append((free, rest))
        each = UNITS // units
        if left >= each:
            after.append((UNITS - each * units, left // each))
        if left % each:
            after.append((UNITS - left % each * units, 1))
        filled = after
    return sum(devices for _, devices in filled)


@lru_cache(maxsize=100_000)
def _fewest(parts: tuple[tuple[int, int], ...]) -> int:
    """The optimum, by search: one device takes a largest actor and is filled up with others."""
    parts = tuple((units, n) for units, n in parts if n)
    if not parts:
        return 0
    (units, number), others = parts[0], parts[1:]
    best = sum(n for _, n in parts)
    for rest in _fillings(((units, number - 1), *others), UNITS - units):
        best = min(best, 1 + _fewest(rest))
    return best


def _fillings(parts: tuple[tuple[int, int], ...], free: int) -> list[tuple[tuple[int, int], ...]]:
    """The parts that may remain after a device with `free` units has taken some of `parts`."""
    if not parts:
        return [()]
    (units, number), others = parts[0], parts[1:]
    found = []
    for taken in range(min(number, free // units), -1, -1):
        for rest in _fillings(others, free - taken * units):
            found.append(((units, number - taken), *rest))
    return found
