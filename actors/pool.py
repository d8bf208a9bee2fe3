"""A pool of one kind of actor: start, feed, resize, replace, and decide who is to blame.

Bookkeeping only: the functions that start and kill an actor come from outside, so that a pool runs
without Ray too. Nothing is repeated behind our back: the pool replaces an actor that died, its
calls fail, and the cascade decides which are made again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

from actors.errors import PoolFailedError

IN_FLIGHT = 2
"""Calls that an actor has at once: it works on one, while Ray moves the inputs of the other."""

LONG_SECONDS = 10.0
"""Beside a call that takes longer, the moving of inputs is nothing. A second one would only wait
behind it, and nobody else could take it: not the actor that is free a moment later, and not the one
that is about to load."""

HUNG_AT_LEAST_SECONDS = 60.0
HUNG_FACTOR = 10.0
"""A call hangs when it takes this many times as long as the slowest of its pool so far, and at
least HUNG_AT_LEAST_SECONDS: chosen, as the safe side, since killing an actor that works costs its
load, and a compiled network's first call may take a minute."""

MAX_NODE_LOSSES = 20
"""So many times its largest size a pool may lose actors together with their nodes, without one
completion in between. Chosen: a cluster of spot nodes may lose all of them every few minutes, and
goes on when they come back; but one whose nodes last for no call is of no use."""


@dataclass(eq=False, slots=True)
class PoolCall:
    """A call that an actor has.

    `completions_before`: the actor's completions when the call was sent. `since`: when its turn
    came, in seconds on the dispatcher's clock: a call that waits behind another does not age.
    """

    completions_before: int = 0
    since: float = 0.0


@dataclass(eq=False, slots=True)
class PoolActor:
    """One actor. `calls`: those that it has, the oldest first. `completions`: its successful calls.

    `number`: the older actor has the lower one. `raised`: calls in a row that ended with an error.
    `listed`: the numbers of calls under which the pool lists it as having room. `leaving`: it gets
    no new calls, and the pool dismisses it when its calls have ended. `has_place`: no node had room
    for it when that was last looked at, if False; it does not load then.
    """

    number: int
    handle: Any
    loading: Any
    """The task reference that completes when it has loaded."""
    ready: bool = False
    calls: deque[PoolCall] = field(default_factory=deque)
    completions: int = 0
    raised: int = 0
    listed: set[int] = field(default_factory=set)
    leaving: bool = False
    has_place: bool = True

    @property
    def at_fault(self) -> PoolCall | None:
        """The call that an actor that died was working on, if that is certain.

        An idle actor may have died before it got the call, and Ray does not say. A new one, or one
        that has completed another call since, was alive when it began with this one.
        """
        oldest = self.calls[0] if self.calls else None
        if oldest and (self.completions == 0 or self.completions > oldest.completions_before):
            return oldest
        return None


class Pool:
    """Actors of one class, all made alike."""

    def __init__(
        self,
        name: str,
        start: Callable[[], tuple[Any, Any]],
        kill: Callable[[Any], None],
        *,
        size: int,
        micro_batch_size: int,
        max_loads: int,
        max_deaths: int,
        max_raises: int,
        max_first_raises: int,
        first_call_seconds: float,
        call_seconds: float | None = None,
        is_quick: bool = True,
    ) -> None:
        """`start` starts one actor: its handle, and what comes back when it has loaded.

        `size`: the wanted number of actors; `resize` changes it. `micro_batch_size`: rows that an
        actor computes together; it is halved when a device runs out of memory. `max_loads`: this
        many actors, and one for each in the pool when it was largest, may die before the first has
        loaded; `max_deaths`: the same later on, without one completion in between. Then the job
        fails with the last cause instead of starting actors without end. Actors that go with their
        nodes do not count (but see MAX_NODE_LOSSES). `max_raises`: the pool
        replaces an actor whose calls raise so often in a row, in case the actor is at fault.
        `max_first_raises`: so many calls may raise before the first one succeeds; then the model is
        at fault. `call_seconds`: a call that takes longer hangs; None: the limit follows from the
        calls so far, and is at most `first_call_seconds`, which also holds before the first call.
        `is_quick`: whether calls count as short before one of them has shown how long they take.
        """
        self.name = name
        self.size = size
        self.micro_batch_size = micro_batch_size
        self.actors: list[PoolActor] = []
        self._start, self._kill = start, kill
        self._max_loads, self._max_deaths = max_loads, max_deaths
        self._largest = size
        self._max_raises = self._patience = max_raises
        self._first_raises_left: float = max_first_raises
        self._first_call_seconds = first_call_seconds
        self._call_seconds = call_seconds
        self._slowest_seconds: float | None = None
        self._quickest_seconds = 0.0 if is_quick else inf
        """Of the calls so far; the first ones may have compiled something."""
        self._deaths = 0
        self._node_losses = 0
        """Actors that went with their nodes since the last completion."""
        self._ever_ready = False
        self.num_leaving = 0
        """Actors that get no new calls."""
        self._numbers = count()
        self._with_room: list[list[tuple[int, PoolActor]]] = [[] for _ in range(IN_FLIGHT)]
        """By how many calls they have, heaps of actors by number. Each actor is in the heap where
        it belongs; stale entries are dropped when they come to the top."""

    def start(self) -> Sequence[PoolActor]:
        """Start the actors that are missing; returns them, loading."""
        return [self.start_one() for _ in range(self.num_missing)]

    def start_one(self) -> PoolActor:
        """Start one more actor."""
        actor = PoolActor(next(self._numbers), *self._start())
        self.actors.append(actor)
        return actor

    def resize(self, size: int) -> None:
        """Set the wanted number of actors.

        Actors too many leave: first those without a place, then those that load, then the least
        busy. Leaving actors stay when
        they are wanted again. `start` starts the missing ones, and `dismiss_leaving` ends those
        that have no calls left.
        """
        self.size = size
        self._largest = max(self._largest, size)
        leaving = [actor for actor in self.actors if actor.leaving]
        for actor in leaving[: max(0, self.num_missing)]:
            actor.leaving = False
            self._list(actor)
        staying = [actor for actor in self.actors if not actor.leaving]
        staying.sort(
            key=lambda actor: (actor.has_place, actor.ready, len(actor.calls), -actor.number)
        )
        for actor in staying[: max(0, len(staying) - size)]:
            actor.leaving = True
        self.num_leaving = sum(actor.leaving for actor in self.actors)

    def dismiss_leaving(self) -> list[PoolActor]:
        """End the leaving actors that have no calls, and return them."""
        done = [actor for actor in self.actors if actor.leaving and not actor.calls]
        for actor in done:
            self._forget(actor)
        return done

    @property
    def num_missing(self) -> int:
        """Actors to be started."""
        return self.size - len(self.actors) + self.num_leaving

    def _forget(self, actor: PoolActor) -> None:
        self.actors.remove(actor)
        self.num_leaving -= actor.leaving
        actor.ready = False
        self._kill(actor.handle)

    def loaded(self, actor: PoolActor) -> None:
        """An actor has its model, and may get calls."""
        actor.ready = actor.has_place = True
        self._ever_ready = True
        self._list(actor)

    def free(self, queued: int) -> PoolActor | None:
        """The least busy actor that can take one of `queued` calls; of several, the oldest.

        An actor that still has a call gets none of the last ones: the first free actor takes them.
        Nor does it where calls take long.
        """
        is_quick = self._quickest_seconds < LONG_SECONDS
        depth = IN_FLIGHT if is_quick and queued >= len(self.actors) else 1
        for num_calls, heap in enumerate(self._with_room[:depth]):
            while heap:
                actor = heap[0][1]
                if actor.ready and not actor.leaving and len(actor.calls) == num_calls:
                    return actor
                heappop(heap)
                actor.listed.discard(num_calls)
        return None

    def _list(self, actor: PoolActor) -> None:
        num_calls = len(actor.calls)
        if num_calls < IN_FLIGHT and num_calls not in actor.listed:
            actor.listed.add(num_calls)
            heappush(self._with_room[num_calls], (actor.number, actor))

    def assign(self, actor: PoolActor, call: PoolCall, now: float) -> None:
        """An actor has a call."""
        call.completions_before = actor.completions
        call.since = now
        actor.calls.append(call)
        self._list(actor)

    def completed(self, actor: PoolActor, call: PoolCall, succeeded: bool, now: float) -> None:
        """A call is over, with success or without."""
        actor.calls.remove(call)
        self._list(actor)
        if actor.calls:
            actor.calls[0].since = max(actor.calls[0].since, now)
        if succeeded:
            actor.completions += 1
            actor.raised = 0
            self._deaths = self._node_losses = 0
            self._patience = self._max_raises
            self._first_raises_left = inf
            seconds = now - call.since
            is_first = self._slowest_seconds is None
            self._slowest_seconds = max(self._slowest_seconds or 0.0, seconds)
            self._quickest_seconds = min(inf if is_first else self._quickest_seconds, seconds)

    def raised(self, actor: PoolActor, reason: str) -> bool:
        """A call raised; returns whether the actor raised so often that it must be replaced.

        If the next actor raises as well, the pool waits twice as long before it replaces that one:
        the calls may be at fault, and each new actor costs a load. Raises PoolFailedError if no
        call ever succeeded.
        """
        actor.raised += 1
        self._first_raises_left -= 1
        if self._first_raises_left < 0:
            raise PoolFailedError(f"every call of the {self.name} failed; the last: {reason}")
        if actor.raised < self._patience:
            return False
        self._patience *= 2
        return True

    def ran_out_of_memory(self, rows: int) -> bool:
        """The device had no room for `rows` at once: take half from now on.

        Returns False if there is nothing left to halve.
        """
        if rows == 1:
            return False
        if self.micro_batch_size > rows // 2:
            self.micro_batch_size = rows // 2
        return True

    @property
    def limit_seconds(self) -> float:
        """A call that takes longer than this hangs."""
        if self._call_seconds is not None:
            return self._call_seconds
        if self._slowest_seconds is None:
            return self._first_call_seconds
        measured = max(HUNG_AT_LEAST_SECONDS, HUNG_FACTOR * self._slowest_seconds)
        return min(measured, self._first_call_seconds)

    def hung(self, now: float) -> list[PoolActor]:
        """The actors that are at one call for too long."""
        limit = self.limit_seconds
        return [w for w in self.actors if w.calls and now - w.calls[0].since > limit]

    def retire(self, actor: PoolActor) -> None:
        """Kill and forget an actor that may be at fault; `start` replaces it."""
        self._forget(actor)

    def lost_with_node(self, actor: PoolActor, reason: str) -> None:
        """Forget an actor whose node is gone. Raises PoolFailedError if that has no end."""
        self._forget(actor)
        self._node_losses += 1
        if self._node_losses > MAX_NODE_LOSSES * max(1, self._largest):
            raise PoolFailedError(
                f"the nodes of the {self.name} pool are lost before a call ends, again and again; "
                f"the last: {reason}"
            )

    def died(self, actor: PoolActor, reason: str, permanent: bool = False) -> None:
        """Forget an actor. Raises PoolFailedError if its replacement would fail as well.

        permanent: it raised while it loaded, as will the next one, unless one has loaded before.
        """
        self._forget(actor)
        self._deaths += 1
        if not self._ever_ready and (permanent or self._deaths > self._max_loads + self._largest):
            raise PoolFailedError(f"the {self.name} does not start: {reason}")
        if self._deaths > self._max_deaths + self._largest:
            raise PoolFailedError(
                f"the {self.name} pool lost actor after actor and was given up; the last: {reason}"
            )

    @property
    def num_ready(self) -> int:
        """Actors that have loaded, and stay."""
        return len([actor for actor in self.actors if actor.ready and not actor.leaving])

    @property
    def num_placed(self) -> int:
        """Actors that have a place, and stay."""
        return sum(actor.has_place and not actor.leaving for actor in self.actors)

    @property
    def num_waiting(self) -> int:
        """Actors that wait for a place."""
        return len([actor for actor in self.actors if not actor.has_place])

    @property
    def num_busy(self) -> int:
        """Actors that have something to do."""
        return len([actor for actor in self.actors if actor.calls])

    @property
    def num_calls(self) -> int:
        """Calls that actors have."""
        return sum([len(actor.calls) for actor in self.actors])

    def stop(self, kept: Collection[Any] = ()) -> None:
        """Kill every actor but those of the handles `kept`, and forget all."""
        for actor in self.actors:
            if actor.handle not in kept:
                self._kill(actor.handle)
        self.actors.clear()
