"""A pool of one kind of Ray actor: start, feed, replace.

Actors are started with `max_restarts=0` and `max_task_retries=0`: Ray repeats nothing behind our
back. The pool replaces an actor that died; its calls come back as failed, and the cascade decides.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef

from actors.errors import PoolFailedError

log = logging.getLogger("bottega.pool")

IN_FLIGHT = 2
"""Batches that an actor has at once: one that it works on, one whose inputs Ray moves meanwhile."""


@dataclass(eq=False)
class Worker:
    """One actor. `calls` are the calls that it has, the oldest first; `answers`, how many it gave.

    `guilty`: the call that it was working on when it died, if that is certain.
    """

    handle: Any
    ready: bool = False
    calls: deque[PoolCall] = field(default_factory=deque)
    answers: int = 0
    guilty: PoolCall | None = None


@dataclass(eq=False)
class PoolCall:
    """A call that an actor has. `answers_before`: how many the actor had given when it was sent."""

    answers_before: int = 0


class Pool:
    """Actors of one class, all made alike."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Any],
        size: int,
        max_deaths: int,
    ) -> None:
        """`make` starts one actor and returns its handle.

        `max_deaths`: so many actors may die without one answer in between, beyond one for each in
        the pool; then the job fails with the last cause instead of starting actors for ever.
        """
        self.name = name
        self.size = size
        self.workers: list[Worker] = []
        self._make = make
        self._max_deaths = max_deaths + size
        self._deaths = 0
        self._ever_ready = False

    def start(self) -> Mapping[ObjectRef[Any], Worker]:
        """Start the actors that are missing; returns what to wait on until each has loaded."""
        loading: dict[ObjectRef[Any], Worker] = {}
        while len(self.workers) < self.size:
            worker = Worker(self._make())
            self.workers.append(worker)
            loading[worker.handle.ready.remote()] = worker
        return loading

    def loaded(self, worker: Worker) -> None:
        """An actor has its model and may be fed."""
        worker.ready = True
        self._ever_ready = True

    def free(self) -> Worker | None:
        """The least busy actor that can take one more call."""
        ready = [w for w in self.workers if w.ready and len(w.calls) < IN_FLIGHT]
        return min(ready, key=lambda w: len(w.calls), default=None)

    def give(self, worker: Worker, call: PoolCall) -> None:
        """An actor has a call."""
        call.answers_before = worker.answers
        worker.calls.append(call)

    def answered(self, worker: Worker, call: PoolCall, well: bool) -> None:
        """A call is back, well or not."""
        worker.calls.remove(call)
        if well:
            worker.answers += 1
            self._deaths = 0

    def died(self, worker: Worker, reason: str) -> None:
        """Forget an actor. Raises PoolFailedError if replacing it is hopeless."""
        if worker not in self.workers:
            return
        self.workers.remove(worker)
        oldest = worker.calls[0] if worker.calls else None
        # An actor that was idle may have died before it got the call: nobody tells us. A new one,
        # or one that has answered since the call was sent, was alive when it began with it.
        if oldest and (worker.answers == 0 or worker.answers > oldest.answers_before):
            worker.guilty = oldest
        ray.kill(worker.handle)
        self._deaths += 1
        if not worker.ready and not self._ever_ready:
            raise PoolFailedError(f"the {self.name} does not start: {reason}")
        if self._deaths > self._max_deaths:
            raise PoolFailedError(
                f"the {self.name} pool lost actor after actor and was given up; the last: {reason}"
            )
        log.warning("%s: an actor died and is replaced: %s", self.name, reason)

    @property
    def num_ready(self) -> int:
        """Actors that have loaded."""
        return sum(worker.ready for worker in self.workers)

    @property
    def num_busy(self) -> int:
        """Actors that have something to do."""
        return sum(bool(worker.calls) for worker in self.workers)

    def stop(self) -> None:
        """Kill every actor."""
        for worker in self.workers:
            ray.kill(worker.handle)
        self.workers.clear()
