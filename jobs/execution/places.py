"""Keeps what a job can have of its cluster true: nodes come and go, and others use them too.

The executor's look at the cluster -> `jobs.scaling.places` -> the pools' capacity and sizes

An actor that waits too long for its place shows that there is none: the pools go on with the
places that they hold. Devices that stay free for a while are had again. Where other jobs run on the
cluster, each has its share of the GPUs (`jobs.scaling.shares`), and gives up what is more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf

from actors.errors import NoPlaceError
from actors.pool import PoolActor
from jobs.execution.actor_pools import ActorPools
from jobs.execution.executor import ClusterView, Executor
from jobs.execution.resources import Resources
from jobs.resolution import Job
from jobs.scaling.capacity import Capacity
from jobs.scaling.initial_sizes import by_group, guess_loads, sizes_on
from jobs.scaling.places import (
    PoolPlaces,
    capacity_of,
    lesser,
    sizes_by_places,
    sizes_with_room,
    waiting_text,
)
from jobs.scaling.shares import is_shared, sizes_within, within

log = logging.getLogger("bottega.dispatcher")

LOOK_SECONDS = 1.0
"""Between two looks while an actor loads or waits, or devices are missing; a look takes
milliseconds."""

CALM_LOOK_SECONDS = 10.0
"""The same while nothing is missing: on a cluster of a thousand nodes a look takes a part of a
second, and nodes that join may be used a little later."""

PLACE_SECONDS = 20.0
"""An actor that waits longer for its place does not get one. A node needs a second or two to start
a worker process, and on a machine that is busy some seconds; an actor that is given up although its
place was on the way costs that start once more."""

NODE_SECONDS = 900.0
"""A job that idles so long for a node of an autoscaler's goes on without: the clouds bring a node
within ten minutes, or have none."""

STEADY_SECONDS = 10.0
"""Devices that stay free for so long can be had: an actor of another job that is replaced, or moves
to another pool, leaves its device for a few seconds only. Twice as long each time that an actor did
not get what seemed free."""

LONGEST_STEADY_SECONDS = 600.0
"""Chosen: ten minutes of a free device are little beside an hour of trying in vain."""

SHOWN_SECONDS = 5.0
"""An actor that waits no longer than this is not worth a line: every actor waits for a second."""

LOG_SECONDS = 60.0
"""Between two lines of the log that say what the job waits for, unless it is news."""


UNBOUNDED = 10**9
"""Devices: more than any cluster has."""


class Places:
    """Looks at the cluster again and again. `waiting`: for what the job waits; empty for nothing.

    `have`: the cluster's resources by the latest look; None before the first.
    """

    def __init__(
        self,
        job: Job,
        executor: Executor,
        pools: ActorPools,
        calls_of: Callable[[str], tuple[int, int]],
    ) -> None:
        """`calls_of`: by pool, the calls that wait and those that actors have."""
        self._job, self._executor, self._pools, self._calls_of = job, executor, pools, calls_of
        self.waiting = ""
        self.have: Resources | None = None
        self.note: Callable[[Mapping[str, int], str], None] | None = None
        """Called with sizes that change, and why; the scaling controller sets it."""
        self._labels: frozenset[str] | None = None
        """The labels of nodes by which the pools were planned."""
        self._next_look = 0.0
        self._waits_since: dict[PoolActor, float] = {}
        self._idle_since: float | None = None
        self._free_since: float | None = None
        self._could: Capacity | None = None
        """The capacity that could be had at each look since then."""
        self._steady_seconds = STEADY_SECONDS
        self._has_tried = False
        """Whether the pools took devices that seemed to be free, and nobody knows yet whether they
        were."""
        self._first_sizes = pools.sizes
        self._logged = ("", -inf)

    def look(self) -> Resources | None:
        """Look at the cluster, if it is time, and change the pools' sizes where it changed.

        Returns what the cluster has by the latest look; None if that never changes.
        """
        now, pools = self._executor.now(), self._pools
        devices = pools.devices
        if devices is None or (now < self._next_look and not self._executor.has_news()):
            return self.have
        unloaded = pools.unloaded()
        view = self._executor.look([actor.handle for actor in unloaded])
        if view is None:
            self._next_look = inf
            return None
        self.have = view.have
        if self._labels is None:
            self._labels = frozenset(view.have.labelled_gpus)
        for actor in unloaded:
            pools.set_place(actor, actor.handle not in view.waiting)
        self._waits_since = {
            actor: self._waits_since.get(actor, now)
            for pool in pools.values()
            for actor in pool.actors
            if not actor.has_place
        }
        if self._has_tried and not unloaded:
            self._has_tried, self._steady_seconds = False, STEADY_SECONDS
        self._executor.holds(
            devices.needed_for({name: pool.num_placed for name, pool in pools.items()})
        )
        ours = self._ours(devices, view)
        pools.is_dealt = view.share is not None and pools.capacity is not None
        leaving = any(pool.num_leaving for pool in pools.values())
        if not leaving and not self._gives_up(devices, ours, view):
            if self._gets_no_place(devices, now):
                self._go_on_with_what_is_held(devices)
            if not devices.elastic or pools.now_had is not None:
                self._have_again(devices, ours, view, now)
        self._say(devices, view, now)
        missing = self._waits_since or pools.now_had is not None or unloaded
        self._next_look = now + (LOOK_SECONDS if missing else CALM_LOOK_SECONDS)
        return self.have

    def is_waiting(self, in_flight: bool) -> bool:
        """Whether the job can do nothing but wait for a place; `in_flight`: calls are under way.

        Raises NoPlaceError if that takes longer than the job file allows.
        """
        now, limit = self._executor.now(), self._job.spec.place_timeout_seconds
        if in_flight or self._pools.is_loading or not self._waits_since:
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since > limit:
            raise NoPlaceError(
                f"{self.waiting or 'waiting for a place in the cluster'}, for {limit:g} s now. "
                "Finished parts are safe. Run the same command again when there is room, or give "
                "place_timeout_seconds more."
            )
        return True

    def _gets_no_place(self, devices: Capacity, now: float) -> bool:
        """Whether an actor waits in vain. With an autoscaler its node may be on its way: only a job
        that holds places and can do nothing gives up."""
        if devices.elastic:
            holds = any(pool.num_placed for pool in self._pools.values())
            idle = 0.0 if self._idle_since is None else now - self._idle_since
            return holds and idle >= NODE_SECONDS
        longest = max((now - since for since in self._waits_since.values()), default=0.0)
        return longest >= PLACE_SECONDS

    def _ours(self, devices: Capacity, view: ClusterView) -> Capacity:
        """The devices that are this job's, of those of the whole cluster; they may be more than it
        was planned for, where nodes joined."""
        if self._pools.capacity is None or not is_shared(devices):
            return _without_bounds(devices)
        if view.share is None and self._job.spec.max_gpus is None:
            return _without_bounds(devices)
        most = self._job.spec.max_gpus or inf
        if view.share is not None:
            most = min(most, view.share)
        if most < devices.count or len(devices.devices) > 1:
            return within(devices, most)
        return _without_bounds(devices, most)

    def _gives_up(self, devices: Capacity, ours: Capacity, view: ClusterView) -> bool:
        """Whether the job has more than its share, and so gives the rest to the others."""
        pools = self._pools
        had = pools.now_had or devices
        if all(has.has_at_most(may) for has, may in zip(had.devices, ours.devices, strict=True)):
            return False
        now_had = lesser(had, ours)
        queued = {name: sum(self._calls_of(name)) for name in pools}
        sizes = sizes_within(now_had, pools.sizes, queued)
        pools.now_had, self._free_since, self._could = now_had, None, None
        self._has_tried = False
        shared = f", shared with {view.neighbours}" if view.neighbours else ""
        self._resize(sizes, f"{now_had.count} {devices.unit}s are this job's{shared}")
        return True

    def _go_on_with_what_is_held(self, devices: Capacity) -> None:
        pools = self._pools
        held = {name: pool.num_placed for name, pool in pools.items()}
        sizes = sizes_by_places(
            {
                name: PoolPlaces(
                    wanted=pool.size,
                    placed=held[name],
                    share=devices.shares[name],
                    has_work=any(self._calls_of(name)),
                )
                for name, pool in pools.items()
            }
        )
        now_had = capacity_of(devices, held)
        if self._has_tried:
            # What seemed to be free was not, or not for these actors.
            self._steady_seconds = min(LONGEST_STEADY_SECONDS, 2 * self._steady_seconds)
        pools.now_had, self._free_since, self._could = now_had, None, None
        self._has_tried = False
        self._resize(sizes, "an actor got no place in the cluster")

    def _have_again(self, devices: Capacity, ours: Capacity, view: ClusterView, now: float) -> None:
        """Take devices that were free for a while, and those of nodes that joined.

        Those of its share a job takes at once, unless it did so in vain: nobody else takes them.
        """
        pools = self._pools
        held = {name: pool.num_placed for name, pool in pools.items()}
        could = capacity_of(devices, held, self._by_group(view.free), self._by_group(view.have))
        is_dealt = pools.is_dealt and self._steady_seconds == STEADY_SECONDS
        # What others hold of a share they give up: Ray's queue is the place to wait for it.
        could = ours if is_dealt else lesser(could, ours)
        if self._could is not None:
            could = lesser(self._could, could)
        had = pools.now_had or devices
        if all(new.has_at_most(old) for new, old in zip(could.devices, had.devices, strict=True)):
            self._free_since = self._could = None
            return
        self._could = could
        if self._free_since is None:
            self._free_since = now
        if now - self._free_since < (0.0 if is_dealt else self._steady_seconds):
            return
        self._free_since = self._could = None
        whole = all(
            old.has_at_most(new) for new, old in zip(could.devices, devices.devices, strict=True)
        )
        pools.now_had = None if whole and could.count == devices.count else could
        self._has_tried = True
        wanted = self._first_sizes
        if pools.capacity is not None:
            wanted = sizes_on(could, self._job.spec.pools, guess_loads(self._job))
        queued = {name: self._calls_of(name)[0] for name in pools}
        if pools.capacity is None and pools.now_had is None:
            sizes = dict(wanted)  # Nobody changes them later.
        else:
            sizes = sizes_with_room(could, pools.sizes, wanted, queued)
        self._resize(sizes, f"{could.count} {devices.unit}s can be had now")

    def _resize(self, sizes: Mapping[str, int], reason: str) -> None:
        if sizes == self._pools.sizes:
            return
        if self.note:
            self.note(sizes, reason)
        else:
            shown = ", ".join(f"{size} {name}" for name, size in sizes.items())
            log.info("%s: %s", shown, reason)
        self._pools.resize(sizes)

    def _by_group(self, resources: Resources) -> dict[frozenset[str], float]:
        assert self._pools.devices is not None
        if self._pools.devices.unit == "core":
            return {group.pools: resources.cpus for group in self._pools.devices.devices}
        known = self._labels or ()
        labelled = {label: resources.labelled_gpus.get(label, 0.0) for label in known}
        return by_group(resources.gpus, labelled)

    # ---- for people

    def _say(self, devices: Capacity, view: ClusterView, now: float) -> None:
        pools = self._pools
        held = {name: pool.num_placed for name, pool in pools.items()}
        wanted = {name: held[name] + pool.num_waiting for name, pool in pools.items()}
        if pools.now_had is not None:
            wanted = {name: max(self._first_sizes[name], size) for name, size in wanted.items()}
        long = any(now - since >= SHOWN_SECONDS for since in self._waits_since.values())
        if wanted == held or not (long or pools.now_had is not None):
            self.waiting = ""
        else:
            cores = devices.unit == "core"
            there = {n: sum(actor.has_place for actor in pool.actors) for n, pool in pools.items()}
            self.waiting = waiting_text(
                devices,
                wanted,
                held,
                total=view.have.cpus if cores else view.have.gpus,
                free=view.free.cpus if cores else view.free.gpus,
                ours=sum(devices.shares[name] * count for name, count in there.items()),
            )
        said, when = self._logged
        if self.waiting != said and (not said or not self.waiting or now - when > LOG_SECONDS):
            self._logged = self.waiting, now
            log.warning("%s", self.waiting or "the job has the places that it asked for")


def _without_bounds(devices: Capacity, most: float = inf) -> Capacity:
    """The same groups of devices, of any number up to `most`: nodes may join."""
    count = int(min(most, UNBOUNDED))
    groups = tuple(replace(group, count=count, volume=inf) for group in devices.devices)
    return replace(devices, devices=groups)
