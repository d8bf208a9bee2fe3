"""The three actor pools of a job: how many actors each has, which load, which leave.

The controller says which sizes are right (`scaling_controller`); this starts and ends actors until
it is so. It places nothing beyond what the capacity has room for, so that an actor which waits for
another to leave does not count as loading.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from math import ceil, log2

from actors.pool import Pool, PoolActor, PoolCall
from jobs.execution.active_part import Ref
from jobs.execution.executor import WITH_NODE, ErrorKind, Executor, TaskError
from jobs.execution.observers import (
    ActorDied,
    ActorLoaded,
    ActorNotLoaded,
    ActorReplaced,
    Observers,
)
from jobs.resolution import Job
from jobs.scaling.capacity import Capacity

log = logging.getLogger("bottega.dispatcher")

LATEST_LOAD = 0.3
"""The weight of the latest actor in the smoothed load time: the first actors of a node download
and read from disk, the next find the files in memory, and a move is priced by the latter."""


class ActorPools(Mapping[str, Pool]):
    """The pools by name, in the order of ROLES."""

    def __init__(
        self,
        job: Job,
        executor: Executor,
        sizes: Mapping[str, int],
        capacity: Capacity | None,
        observers: Observers,
        places: Capacity | None = None,
    ) -> None:
        """`sizes`: of each pool at first. `capacity`: the devices that the actors share; None keeps
        the sizes as they are. `places`: the devices of these actors where the sizes stay."""
        self.devices = capacity or places
        """The devices that the job was planned for; None if it needs no places."""
        self.now_had: Capacity | None = None
        """The part of them that can be had now, where that is not the same."""
        self.is_dealt = False
        """Whether `now_had` is this job's share: other jobs give it up, if it is not free yet."""
        self._balanced = capacity is not None
        self.load_seconds: dict[str, float] = {}
        """Smoothed, by pool; of those of which an actor has loaded."""
        self._executor, self._observers = executor, observers
        self._pools = {name: _pool(name, size, job, executor) for name, size in sizes.items()}
        self._first_sizes = dict(sizes)
        self._loading: dict[Ref, tuple[Pool, PoolActor, float]] = {}
        """By task reference: the pool, the actor, and when it was started, or got its place."""

    def __getitem__(self, name: str) -> Pool:
        return self._pools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pools)

    def __len__(self) -> int:
        return len(self._pools)

    # ---- sizes

    @property
    def sizes(self) -> dict[str, int]:
        """Wanted actors, by pool."""
        return {name: pool.size for name, pool in self._pools.items()}

    @property
    def capacity(self) -> Capacity | None:
        """The devices that can be had now, to be dealt out; None if the sizes stay."""
        return (self.now_had or self.devices) if self._balanced else None

    def gpus(self, name: str) -> float:
        """GPUs that the actors of a pool hold; 0 where they compute on cores."""
        if self.devices is None or self.devices.unit != "GPU":
            return 0.0
        pool = self._pools[name]
        return self.devices.shares[name] * (len(pool.actors) - pool.num_waiting)

    @property
    def is_loading(self) -> bool:
        """Whether any actor loads. One that waits for its place does not."""
        return any(actor.has_place for _, actor, _ in self._loading.values())

    def unloaded(self) -> list[PoolActor]:
        """The actors that load, or wait for a place to do so."""
        return [actor for _, actor, _ in self._loading.values()]

    def set_place(self, actor: PoolActor, has_place: bool) -> None:
        """Note whether an actor that has not loaded has a place: it loads from then on."""
        if has_place and not actor.has_place:
            pool, _, _ = self._loading[actor.loading]
            self._loading[actor.loading] = pool, actor, self._executor.now()
        actor.has_place = has_place

    def leave_out(self, name: str) -> None:
        """Start no actor of this pool; before the start."""
        self._pools[name].resize(0)
        self._first_sizes[name] = 0

    def start(self) -> None:
        """Start the first actors."""
        self._executor.set_target_sizes(self.sizes)
        self._start_missing()

    def stop(self) -> None:
        """Kill every actor, but those that the executor keeps for another job.

        One whose last call raised, or that has made nothing yet, may be at fault.
        """
        good = [
            actor.handle
            for pool in self._pools.values()
            for actor in pool.actors
            if actor.ready and not actor.raised
        ]
        kept = set(self._executor.leave_actors(good))
        for pool in self._pools.values():
            pool.stop(kept)
        self._executor.set_target_sizes(dict.fromkeys(self._pools, 0))

    def resize(self, sizes: Mapping[str, int]) -> None:
        """Set other sizes: an actor too many leaves when its calls have ended, a missing one is
        started when there is a device for it."""
        self._executor.set_target_sizes(sizes)
        for name, pool in self._pools.items():
            pool.resize(sizes[name])
        self._settle()

    def settle(self) -> None:
        """End the actors that leave and have no calls; start those that are missing."""
        if any(pool.num_leaving or pool.num_missing for pool in self._pools.values()):
            self._settle()

    def give_devices_to(self, wanted: set[str]) -> None:
        """Hand the devices over to the pools that are `wanted`, if none of them has an actor.

        A pool without actors has no measured throughput, so the controller cannot see that its
        calls are all that is left to do. Nothing is under way: who is ready has nothing to do.
        """
        without = {name for name in wanted if not self._pools[name].num_ready}
        # Pools that nobody balances come to nothing too, where they had no place for a while.
        has_none = any(not self._pools[name].size for name in without)
        capacity = self.now_had or (self.devices if self._balanced or has_none else None)
        if capacity is None or not without:
            return
        if self.now_had is None and any(self._pools[name].size for name in wanted):
            return  # its actors are on their way
        if self.is_dealt and any(self._pools[name].num_waiting for name in without):
            return  # so are these, or `Places` finds that they wait in vain
        sizes = {name: int(name in without) for name in self._pools}
        for name, size in self.sizes.items():
            if name not in without:
                sizes[name] = capacity.most(name, sizes, size)
        if sizes != self.sizes:
            log.info("%s: actors for the calls that are left", ", ".join(sorted(without)))
            self.resize(sizes)

    def _settle(self) -> None:
        for pool in self._pools.values():
            if pool.num_leaving:
                for actor in pool.dismiss_leaving():
                    self._loading.pop(actor.loading, None)
        self._start_missing()

    def _start_missing(self) -> None:
        for pool in self._pools.values():
            while pool.num_missing > 0 and self._has_place_for(pool):
                actor = pool.start_one()
                self._loading[actor.loading] = pool, actor, self._executor.now()

    def _has_place_for(self, pool: Pool) -> bool:
        there = {name: len(pool.actors) for name, pool in self._pools.items()}
        there[pool.name] += 1
        if self.now_had is not None:
            # A pool's only actor may wait in Ray's queue, unless one of ours makes room for it.
            leaving = any(pool.num_leaving for pool in self._pools.values())
            return self.now_had.fits(there) or (there[pool.name] == 1 and not leaving)
        if self.capacity is None:
            return True
        # The job asked for its first sizes, whether they fit or not.
        first = all(size <= self._first_sizes[name] for name, size in there.items())
        return first or self.capacity.fits(there)

    # ---- loading

    def loaded(self, task_ref: Ref, error: TaskError | None) -> bool:
        """An actor has loaded, or failed to; False if the reference is not that of a load."""
        loading = self._loading.pop(task_ref, None)
        if loading is None:
            return False
        pool, actor, started = loading
        if error:
            kind = ActorNotLoaded if error.kind is ErrorKind.RAISED else ActorDied
            self._observers.notify(kind(pool.name, error.reason))
            self._gone(pool, actor, error)
            return True
        pool.loaded(actor)
        seconds = self._executor.now() - started
        before = self.load_seconds.get(pool.name, seconds)
        self.load_seconds[pool.name] = (1 - LATEST_LOAD) * before + LATEST_LOAD * seconds
        self._observers.notify(ActorLoaded(pool.name, seconds, pool.num_ready, pool.size))
        return True

    def loading_until(self) -> dict[PoolActor, float]:
        """When the actors that load will be ready, as far as that is known."""
        return {
            actor: started + self.load_seconds.get(pool.name, 0.0)
            for pool, actor, started in self._loading.values()
        }

    # ---- actors that are replaced

    def died(self, pool: Pool, actor: PoolActor, error: TaskError) -> PoolCall | None:
        """An actor's process is gone; returns the call that it certainly worked on."""
        at_fault = actor.at_fault
        self._observers.notify(ActorDied(pool.name, error.reason))
        self._gone(pool, actor, error)
        return at_fault

    def _gone(self, pool: Pool, actor: PoolActor, error: TaskError) -> None:
        if error.kind in WITH_NODE:
            pool.lost_with_node(actor, error.reason)
        else:
            pool.died(actor, error.reason, permanent=error.kind is ErrorKind.RAISED)

    def hangs(self, pool: Pool, actor: PoolActor, reason: str) -> PoolCall:
        """Kill an actor that is at one call for too long; returns that call."""
        hung = actor.calls[0]
        self._observers.notify(ActorReplaced(pool.name, reason))
        pool.died(actor, reason)
        return hung

    def raised(self, pool: Pool, actor: PoolActor, reason: str) -> bool:
        """A call raised; replaces an actor that raised again and again, in case it is at fault."""
        if not pool.raised(actor, reason):
            return False
        self._observers.notify(
            ActorReplaced(pool.name, f"{actor.raised} calls in a row failed on it")
        )
        pool.retire(actor)
        return True


def _pool(name: str, size: int, job: Job, executor: Executor) -> Pool:
    spec = job.spec
    batch_sizes = {role: model.batch_size for role, model in spec.models}
    # Finding a row that kills its actor, by halving its batch, may kill this many actors.
    largest = max(batch_sizes["student"], batch_sizes["teacher"])
    halvings = 1 + ceil(log2(largest))
    return Pool(
        name,
        partial(executor.start_actor, name),
        executor.kill_actor,
        size=size,
        micro_batch_size=batch_sizes[name],
        max_loads=spec.max_attempts,
        max_deaths=spec.max_attempts * halvings + 1,
        # So an actor that fails at everything does not use up the attempts at a row.
        max_raises=max(2, spec.max_attempts // 2),
        # More than a batch takes of which every row is poison.
        max_first_raises=4 * largest * spec.max_attempts,
        first_call_seconds=spec.stall_timeout_seconds / 2,
        call_seconds=spec.call_timeout_seconds,
        # A teacher's batch takes seconds to minutes, and of a short job's the first is one of few.
        is_quick=name != "teacher",
    )
