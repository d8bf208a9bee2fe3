"""The list of warm actors on a cluster: a detached actor that outlives the drivers.

It keeps what the actors say (`jobs.scaling.warm_actors` has the rules), gives each to one job at
most, and ends those that have to give way. It may be lost: the actors speak again to the next one.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any

import ray
from ray.exceptions import RayError

from jobs.execution.detached import known_of_cluster, one_of_cluster
from jobs.scaling.warm_actors import WarmActor, WarmActors

NAME = "warm-actors-1"
"""The actor's name; the number is that of its methods' arguments."""


class WarmList:
    """The actor."""

    def __init__(self) -> None:
        self._actors, self._lock = WarmActors(), Lock()
        self._handles: dict[str, Any] = {}

    def speak(self, actor_id: str, actor: WarmActor, handle: Any) -> None:
        """An actor says that it is warm."""
        with self._lock:
            self._handles[actor_id] = handle
            self._kill(self._actors.speak(actor_id, actor, monotonic()))

    def claim(self, key: str) -> tuple[str, Any] | None:
        """The id and the handle of an actor with this model, which nobody else gets now."""
        with self._lock:
            found = self._actors.claim(key, monotonic())
            return (found, self._handles[found]) if found else None

    def forget(self, actor_id: str) -> None:
        """An actor works for a job, or has ended."""
        with self._lock:
            self._actors.forget(actor_id)
            self._handles.pop(actor_id, None)

    def idle(self) -> dict[str, WarmActor]:
        """Those that nobody has, by id."""
        with self._lock:
            return self._actors.idle(monotonic())

    def end(self, actor_ids: Collection[str]) -> list[str]:
        """End those of the actors that nobody has; returns them."""
        with self._lock:
            return self._kill(self._actors.take(actor_ids, monotonic()))

    def bound(self, owner: str, gpus: float) -> list[str]:
        """End those of an owner's actors that are beyond so many GPUs; returns them."""
        with self._lock:
            return self._kill(self._actors.beyond(owner, gpus, monotonic()))

    def _kill(self, actor_ids: Collection[str]) -> list[str]:
        for name in actor_ids:
            self._actors.forget(name)
            with suppress(RayError):
                ray.kill(self._handles.pop(name))
        return list(actor_ids)


def warm_list() -> Any:
    """The list, which is started where there is none."""
    return one_of_cluster(WarmList, NAME)


def known_list() -> Any | None:
    """The list, if any job of the cluster ever kept an actor."""
    return known_of_cluster(NAME)
