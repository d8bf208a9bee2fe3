"""Actors and their places: which sizes the places that a job holds allow. Pure.

Ray counts the GPUs of a cluster, and says nothing of who else wants them. An actor without a place
waits in Ray's queue, perhaps for ever; so an actor that waited too long is the proof that there is
no place for it, and the job goes on with those that it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, floor, inf

from jobs.scaling.capacity import UNITS, Capacity, Devices

LEAST_SHARE = 1 / UNITS
"""Less of a device than this is the rest of a sum of fractions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlaces:
    """A pool. `wanted`: its size. `placed`: its actors that have a place, or had one and leave.

    `share`: of a device, for an actor. `has_work`: calls wait for it, or are under way.
    """

    wanted: int
    placed: int
    share: float
    has_work: bool = False


def sizes_by_places(pools: Mapping[str, PoolPlaces]) -> dict[str, int]:
    """The sizes after an actor has waited too long: those that have a place.

    A pool without one gets that of another pool's second actor: every pool has an actor before any
    has two. Where no pool that has work has a place, each of them keeps one actor that waits.
    """
    sizes = {name: min(pool.wanted, pool.placed) for name, pool in pools.items()}
    without = [name for name, pool in pools.items() if pool.wanted and not sizes[name]]
    # The pool with the largest share first: the others find room beside it more easily.
    for name in sorted(without, key=lambda name: -pools[name].share):
        givers = {
            giver: sizes[giver] * pool.share
            for giver, pool in pools.items()
            if sizes[giver] > 1 and pool.share >= pools[name].share
        }
        if givers:
            sizes[max(givers, key=lambda giver: givers[giver])] -= 1
            sizes[name] = 1
    if not any(sizes[name] and pool.has_work for name, pool in pools.items()):
        for name, pool in pools.items():
            if pool.has_work and pool.wanted:
                sizes[name] = max(1, sizes[name])
    return sizes


def sizes_with_room(
    capacity: Capacity,
    sizes: Mapping[str, int],
    wanted: Mapping[str, int],
    queued: Mapping[str, int],
) -> dict[str, int]:
    """The sizes when there is more room than `sizes` take: towards `wanted`, for pools with calls.

    `queued`: calls that wait, by pool: a pool gets no more actors than those. The pool that has the
    least of what it wants is the first.
    """
    grown = dict(sizes)

    def may_grow(name: str) -> bool:
        if grown[name] >= wanted[name] or not capacity.fits({**grown, name: grown[name] + 1}):
            return False
        return grown[name] - sizes[name] < queued[name]

    while growing := [name for name in grown if may_grow(name)]:
        grown[min(growing, key=lambda name: grown[name] / wanted[name])] += 1
    return grown


def capacity_of(
    all_devices: Capacity,
    held: Mapping[str, int],
    free: Mapping[frozenset[str], float] = {},
    have: Mapping[frozenset[str], float] = {},
) -> Capacity:
    """The capacity of now: the devices of the actors that have a place, and the `free` ones.

    `all_devices`: with the groups of devices, and each actor's share. `held`: by pool, actors.
    `free`, `have`: of each group, devices that nobody uses, and the cluster's in all, which may
    have lost an actor's node before its death is known.
    """
    groups = []
    for group in all_devices.devices:
        ours, total = {name: held[name] for name in group.pools}, have.get(group.pools, inf)
        unused = free.get(group.pools, 0.0)
        volume = min(total, unused + sum(all_devices.shares[name] * ours[name] for name in ours))
        if group.divisible:
            groups.append(replace(group, volume=volume))
            continue
        count = all_devices.needed_for(ours) + floor(unused + LEAST_SHARE)
        groups.append(Devices(int(min(count, total)), group.pools, volume=volume))
    return replace(all_devices, devices=tuple(groups))


def lesser(one: Capacity, other: Capacity) -> Capacity:
    """The smaller of both, by group of devices."""
    groups = (
        replace(a, count=min(a.count, b.count), volume=min(a.volume, b.volume))
        for a, b in zip(one.devices, other.devices, strict=True)
    )
    return replace(one, devices=tuple(groups))


def waiting_text(
    devices: Capacity,
    wanted: Mapping[str, int],
    held: Mapping[str, int],
    *,
    total: float,
    free: float,
    ours: float,
) -> str:
    """Why a job has not all the places that it asked for, in one line for people.

    `wanted`, `held`: actors by pool, and those of them that have a place. `total`, `free`, `ours`:
    devices of the cluster, those of them that nobody uses, and what the actors of the job use.
    """
    more = {name: max(0, wanted[name] - held[name]) for name in wanted}
    if devices.unit == "core":
        missing = ceil(sum(devices.shares[name] * number for name, number in more.items()))
    else:
        missing = devices.needed_for(wanted) - devices.needed_for(held)
        missing = missing if missing > 0 else devices.needed_for(more)
    text = f"waiting for {missing} {devices.unit}{'' if missing == 1 else 's'}"
    others = round(total - free - ours, 1)
    if others > 0:
        return f"{text}: {others:g} of {total:g} are in use by others"
    if free >= 1:
        return (
            f"{text}: {free:g} of {total:g} are free, on nodes without something else that an "
            "actor asks for (cores, or a label)"
        )
    return f"{text}: the cluster has {total:g} now"
