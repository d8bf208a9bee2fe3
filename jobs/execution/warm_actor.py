"""An actor that may stay, loaded, when its job has ended: what happens in its own process.

It is detached: no driver's death ends it. So a thread beside the model looks whether the driver
that it works for lives, and ends the actor when its time without a job is over. The thread never
computes; the actor's calls run where they always do, one after another. Whether the actor may be
lent is decided here, in a call that runs alone, whatever the list of warm actors believes.
"""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Any

import ray
from ray.exceptions import RayError

from jobs.execution.ray_drivers import driver_lives
from jobs.execution.warm_list import warm_list
from jobs.scaling.warm_actors import SPEAK_SECONDS, WarmActor

END_SECONDS = 10.0
"""Ray is asked to end the actor, and has so long before the process ends itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A job has the actor. `ray_job`: the driver, by Ray's number. `name`: of the job.

    `keep_seconds`: how long the actor stays after it. `max_gpus`: of all that the job may have.
    """

    ray_job: str
    name: str
    keep_seconds: float
    max_gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the actor is: see `WarmActor`."""

    key: str
    role: str
    model: str
    cpus: float
    gpus: float


class Warmth:
    """How the actor stands: at work for a job, or warm until a moment, or at its end."""

    def __init__(self, lease: Lease, about: About) -> None:
        context = ray.get_runtime_context()
        self._me: Any = context.current_actor
        self._id, self._node = context.get_actor_id() or "", context.get_node_id()
        self._devices = tuple(str(device) for device in ray.get_gpu_ids())
        self._lease: Lease | None = lease
        self._last, self._about = lease, about
        self._until = 0.0
        self._is_loaded = self._is_ending = False
        self._orphan_since: float | None = None
        self._lock, self._changed = Lock(), Event()
        if not driver_lives(lease.ray_job):  # it waited for its place longer than its job lived
            self._end("its job has ended before it began")
        Thread(target=self._watch, name="warmth", daemon=True).start()

    def loaded(self) -> None:
        """The model is there."""
        self._is_loaded = True

    def lend(self, lease: Lease) -> bool:
        """Work for a job from now on; False for an actor that has one, or is at its end."""
        with self._lock:
            if self._is_ending or (self._lease and driver_lives(self._lease.ray_job)):
                return False
            self._lease = self._last = lease
            self._orphan_since = None
        warm_list().forget.remote(self._id)
        return True

    def rest(self, ray_job: str = "") -> None:
        """The job has nothing more for it: stay for a while, and say so.

        ray_job: the driver that is gone. Another one may have the actor by the time this comes.
        """
        _let_go_of_memory()
        with self._lock:
            if self._lease is None or self._is_ending:
                return
            if ray_job and self._lease.ray_job != ray_job:
                return
            self._lease, self._until = None, monotonic() + self._last.keep_seconds
        self._speak()
        self._changed.set()

    # ---- beside the calls

    def _watch(self) -> None:
        try:
            while not self._is_ending:
                self._look()
                rests = self._lease is None
                left = self._until - monotonic() if rests else SPEAK_SECONDS
                self._changed.wait(max(0.0, min(SPEAK_SECONDS, left)))
                self._changed.clear()
        finally:
            # Whatever ended this thread: an actor that nobody watches would stay for ever.
            sleep(END_SECONDS)
            os._exit(1)

    def _look(self) -> None:
        now = monotonic()
        with self._lock:
            lease = self._lease
            if lease is None and now >= self._until:
                return self._end(f"nobody came for {self._last.keep_seconds:g} s")
        if lease is None:
            self._speak()
        elif driver_lives(lease.ray_job):
            self._orphan_since = None
        elif not self._is_loaded or not lease.keep_seconds:
            self._end("its driver is gone")
        elif self._orphan_since is None:
            # Behind the call that it is at, if that ends.
            self._orphan_since = now
            self._me.rest.remote(lease.ray_job)
        elif now - self._orphan_since >= lease.keep_seconds:
            self._end("its driver is gone, and it is still at that one's call")
        return None

    def _speak(self) -> None:
        actor = WarmActor(
            key=self._about.key,
            role=self._about.role,
            model=self._about.model,
            owner=self._last.name,
            node=self._node,
            seconds_left=max(0.0, self._until - monotonic()),
            devices=self._devices,
            cpus=self._about.cpus,
            gpus=self._about.gpus,
            max_gpus=self._last.max_gpus,
        )
        warm_list().speak.remote(self._id, actor, self._me)

    def _end(self, reason: str) -> None:
        self._is_ending = True
        print(f"a warm {self._about.role} ends: {reason}", file=sys.stderr, flush=True)
        try:
            ray.kill(self._me)
        except RayError:
            os._exit(0)


class KeptActor:
    """Before the class of an actor, it makes that one's actors such that may stay."""

    def __init__(
        self, settings: Any, *, lease: Lease, about: About, threads: int | None = None
    ) -> None:
        self._warmth = Warmth(lease, about)
        super().__init__(settings, threads=threads)  # type: ignore[call-arg]
        self._warmth.loaded()

    def lend(self, lease: Lease) -> bool:
        """See `Warmth`."""
        return self._warmth.lend(lease)

    def rest(self, ray_job: str = "") -> None:
        """See `Warmth`."""
        self._warmth.rest(ray_job)


def kept(kind: type) -> type:
    """The class of actors like those of `kind`, that may stay."""
    return type(kind.__name__, (KeptActor, kind), {})


def _let_go_of_memory() -> None:
    """Give the last call's pictures and latents back, and what torch has set aside for more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
