"""Warm actors: loaded, without a job, and kept for the next one with the same model. Pure.

The actor itself knows how it stands, and whether it may be lent (`jobs.execution.warm_actor`). This
is the list of those that say so: which fits a job, and which give way to somebody who needs their
devices. A warm actor is the first thing to give way; it never makes a job wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobs.scaling.capacity import Capacity

LIVES_SECONDS = 30.0
"""An actor that has said nothing for so long is gone, with its node or alone: it speaks every
SPEAK_SECONDS, and a busy machine may hold it up."""

SPEAK_SECONDS = 5.0
"""Between two messages of a warm actor: a few bytes, and the list is whole so soon after its own
actor was lost."""

CLAIM_SECONDS = 20.0
"""So long an actor that was given to a job is given to no other one, whatever it says: the job asks
the actor next, which takes milliseconds, or has died in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmActor:
    """An actor that is loaded and has no job, by its own words.

    `key`: the hash of all that its model and its pictures depend on. `owner`: the name of the job
    that left it, against whose `max_gpus` it counts. `node`, `devices`: where it is, and which of
    that node's GPUs it has. `seconds_left`: until it ends.
    """

    key: str
    role: str
    model: str
    owner: str
    node: str
    seconds_left: float
    devices: tuple[str, ...] = ()
    cpus: float = 0.0
    gpus: float = 0.0
    max_gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an actor asks of a node, that waits for its place.

    `in_vain`: there seemed to be room for it, and it still waits: what is free on several devices
    is not one device.
    """

    cpus: float = 0.0
    gpus: float = 0.0
    in_vain: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node, with what nobody has of it now."""

    id: str
    cpus: float = 0.0
    gpus: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class WarmActors:
    """The warm actors that have spoken lately, by their ids."""

    _by_id: dict[str, tuple[WarmActor, float]] = field(default_factory=dict)
    _claimed: dict[str, float] = field(default_factory=dict)
    """By id, until when an actor is given to nobody else."""

    def speak(self, actor_id: str, actor: WarmActor, now: float) -> list[str]:
        """An actor says that it is warm; returns those of its owner's that are too many, which
        have to end: the ones with the least time left."""
        self._by_id[actor_id] = actor, now
        if actor.max_gpus is None:
            return []
        return self.beyond(actor.owner, actor.max_gpus, now)

    def forget(self, actor_id: str) -> None:
        """An actor works for a job, or has ended."""
        self._by_id.pop(actor_id, None)
        self._claimed.pop(actor_id, None)

    def idle(self, now: float) -> dict[str, WarmActor]:
        """Those that a job may have, or that may give way, by id; those with most time first."""
        self._by_id = {
            name: (actor, spoke)
            for name, (actor, spoke) in self._by_id.items()
            if now - spoke < min(LIVES_SECONDS, actor.seconds_left)
        }
        self._claimed = {name: until for name, until in self._claimed.items() if until > now}
        idle = {
            name: replace(actor, seconds_left=actor.seconds_left - (now - spoke))
            for name, (actor, spoke) in self._by_id.items()
            if name not in self._claimed
        }
        return dict(sorted(idle.items(), key=lambda item: -item[1].seconds_left))

    def claim(self, key: str, now: float) -> str | None:
        """Give an actor with this model to a job; None if there is none."""
        for name, actor in self.idle(now).items():
            if actor.key == key:
                self._claimed[name] = now + CLAIM_SECONDS
                return name
        return None

    def take(self, actor_ids: Iterable[str], now: float) -> list[str]:
        """Those of the actors that are still idle, to be ended: from now on nobody gets them."""
        found = [name for name in self.idle(now) if name in set(actor_ids)]
        for name in found:
            self.forget(name)
        return found

    def beyond(self, owner: str, gpus: float, now: float) -> list[str]:
        """Of an owner's actors, those beyond so many GPUs."""
        kept, many = 0.0, []
        for name, actor in self.idle(now).items():
            if actor.owner == owner and actor.gpus:
                kept += actor.gpus
                if kept > gpus + ROUNDING:
                    many.append(name)
                    kept -= actor.gpus
        return many


ROUNDING = 1e-4
"""GPUs: Ray's own precision for fractions."""


def giving_way(
    needs: Sequence[Need], nodes: Sequence[Node], idle: Mapping[str, WarmActor]
) -> list[str]:
    """The warm actors that have to end, so that each of the `needs` finds its place.

    An actor that fits where nobody is needs nothing. Of a node's warm actors those go first that
    make room on one device, and of them the largest. Where all of a node's would not be enough,
    none goes: the actor waits for somebody else.
    """
    free = {node.id: [node.cpus, node.gpus] for node in nodes}
    left, ending = dict(idle), list[str]()
    for need in sorted(needs, key=lambda need: (-need.gpus, -need.cpus)):
        may = [node.id for node in nodes if need.labels.items() <= node.labels.items()]
        fits = [node for node in may if _fits(need, free[node]) and not need.in_vain]
        if not fits:
            ways = {node: _room_on(node, need, free[node], left) for node in may}
            found = {node: way for node, way in ways.items() if way}
            if not found:
                continue
            node = min(found, key=lambda node: len(found[node]))
            for name in found[node]:
                free[node][0] += left[name].cpus
                free[node][1] += left[name].gpus
                del left[name]
            ending += found[node]
            fits = [node]
        free[fits[0]][0] -= need.cpus
        free[fits[0]][1] -= need.gpus
    return ending


def _fits(need: Need, free: Sequence[float]) -> bool:
    return need.cpus <= free[0] + ROUNDING and need.gpus <= free[1] + ROUNDING


def _room_on(
    node: str, need: Need, free: Sequence[float], idle: Mapping[str, WarmActor]
) -> list[str]:
    """The fewest actors on a node that make room together with what is free; none if all do not."""
    here = {name: actor for name, actor in idle.items() if actor.node == node}
    if need.in_vain:
        return list(here)
    on_device: dict[tuple[str, ...], float] = {}
    for actor in here.values():
        on_device[actor.devices] = on_device.get(actor.devices, 0.0) + actor.gpus
    order = sorted(
        here,
        key=lambda name: (-on_device[here[name].devices], here[name].devices, -here[name].gpus),
    )
    chosen, room = list[str](), list(free)
    for name in order:
        actor = here[name]
        if need.gpus > room[1] + ROUNDING and not actor.gpus:
            continue
        chosen.append(name)
        room = [room[0] + actor.cpus, room[1] + actor.gpus]
        if _fits(need, room):
            return chosen
    return []


def sizes_with_warm(
    capacity: Capacity, sizes: Mapping[str, int], warm: Mapping[str, int], most: Mapping[str, int]
) -> dict[str, int]:
    """The sizes to begin with where actors are warm: those first, and then towards `sizes`.

    `warm`: by pool, those with the job's model. `most`: actors of a pool at most. A pool that is to
    begin with actors has one at least. The sizes are corrected while the job runs, by what a load
    costs; a warm actor that gives way at the beginning to one that loads is a load for nothing.
    """
    found = {name: min(1, size) for name, size in sizes.items()}
    if not any(warm.values()) or not capacity.fits(found):
        return dict(sizes)
    for wanted in (
        {name: min(warm.get(name, 0), most[name]) for name in found},
        dict(sizes),
    ):
        while growing := [
            name
            for name in found
            if found[name] < wanted[name] and capacity.fits({**found, name: found[name] + 1})
        ]:
            found[min(growing, key=lambda name: found[name])] += 1
    return found


def idle_by_node(idle: Iterable[WarmActor]) -> dict[str, tuple[float, float]]:
    """Cores and GPUs that warm actors have, by node: they are as good as free."""
    found: dict[str, tuple[float, float]] = {}
    for actor in idle:
        cpus, gpus = found.get(actor.node, (0.0, 0.0))
        found[actor.node] = cpus + actor.cpus, gpus + actor.gpus
    return found
