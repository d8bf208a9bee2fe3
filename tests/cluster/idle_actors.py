"""Actors that a job no longer needs, kept for the next job with the same model.

The process of an actor spends six seconds of a core on importing torch and diffusers; a small job
takes two. So `keeping_actors` lets a job begin with actors that an earlier job ended with. One of
the same class with other settings begins anew in its process: it loads its model, imports nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import ray
from ray.exceptions import RayError

import jobs.execution.ray_executor
from actors.pool import Pool
from jobs.execution.ray_executor import RayActor
from jobs.scaling.initial_sizes import PoolPlan

MOST = 6
"""Idle actors at once: each holds 0.5 GB. Chosen: one of each kind for two sorts of jobs."""

ALIVE_SECONDS = 10.0
"""An idle actor answers within milliseconds; one that does not is killed."""

LOAD_SECONDS = 60.0
"""The models here load within a second; an actor whose model does not is killed."""

Key = tuple[type, str, Any]


class IdleActors:
    """The oldest first."""

    def __init__(self) -> None:
        self._idle: list[tuple[Key, Any]] = []
        self._keys: dict[str, Key] = {}
        """By the id of each actor that was started."""

    def started(self, key: Key, actor: Any) -> None:
        """Remember of an actor whose model it has."""
        self._keys[actor._actor_id.hex()] = key

    def knows(self, actor: Any) -> bool:
        """Whether it was started here."""
        return actor._actor_id.hex() in self._keys

    def keep(self, actor: Any) -> None:
        """Take an actor that has nothing to do; kill it if it is of a class that a test made."""
        key = self._keys[actor._actor_id.hex()]
        if key[0].__module__.startswith("actors."):
            self._idle.append((key, actor))
        else:
            ray.kill(actor)
        while len(self._idle) > MOST:
            ray.kill(self._idle.pop(0)[1])

    def take(self, key: Key) -> Any | None:
        """An idle actor that lives and has this model, or None."""
        for place, (kept, actor) in enumerate(self._idle):
            if kept == key:
                del self._idle[place]
                is_there = _ends_well(actor, actor.ready.remote(), ALIVE_SECONDS)
                return actor if is_there else self.take(key)
        return None

    def take_anew(self, key: Key, *settings: Any, **options: Any) -> Any | None:
        """An idle actor of this class with another model, after it has loaded this one; or None.

        Also where the model does not load: a new actor has to say so.
        """
        for place, (kept, actor) in enumerate(self._idle):
            if kept[0] is key[0]:
                del self._idle[place]
                begun = actor.__ray_call__.remote(begin_anew, *settings, **options)
                if not _ends_well(actor, begun, LOAD_SECONDS):
                    return None
                self.started(key, actor)
                return actor
        return None

    def clear(self) -> None:
        """Kill all, for a test that looks at the processes of its own job."""
        while self._idle:
            ray.kill(self._idle.pop()[1])


def begin_anew(actor: Any, *settings: Any, **options: Any) -> None:
    """In the actor's process: what Ray does when it starts one."""
    actor.__dict__.clear()  # its model, before there are two
    actor.__init__(*settings, **options)


def _ends_well(actor: Any, call: Any, seconds: float) -> bool:
    """Whether this call of the actor ends in time without an error; if not, kill the actor."""
    try:
        ray.get(call, timeout=seconds)
    except RayError:
        ray.kill(actor)
        return False
    return True


@dataclass(frozen=True)
class _Reusing:
    """What `ray.remote(kind)` is to the executor; `remote` prefers an idle actor to a new one."""

    kind: type
    new: Any
    idle: IdleActors

    def remote(self, *settings: Any, **options: Any) -> Any:
        key = (self.kind, repr(settings), options)
        actor = self.idle.take(key) or self.idle.take_anew(key, *settings, **options)
        if actor is None:
            actor = self.new.remote(*settings, **options)
            self.idle.started(key, actor)
        return actor


@contextmanager
def keeping_actors() -> Iterator[IdleActors]:
    """Have pools keep their idle actors when a job ends, and start with them."""
    idle = IdleActors()
    make_class = jobs.execution.ray_executor._actor

    def actor_class(kind: type, plan: PoolPlan, stays: bool) -> Any:
        if stays:
            return make_class(kind, plan, stays)
        # Without a core of its own, or idle actors would keep the cores from those that start.
        return _Reusing(kind, make_class(kind, replace(plan, cpus=0.0), stays), idle)

    def stop(pool: Pool, kept: Collection[Any] = ()) -> None:
        for actor in pool.actors:
            if not isinstance(actor.handle, RayActor) or actor.handle in kept:
                continue  # a plan's, on the virtual clock; or a warm one
            if actor.ready and not actor.calls and idle.knows(actor.handle.actor):
                idle.keep(actor.handle.actor)
            else:
                ray.kill(actor.handle.actor)
        pool.actors.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.execution.ray_executor._actor", actor_class)
        patch.setattr(Pool, "stop", stop)
        yield idle
    idle.clear()
