"""Warm actors, as one job sees them: it takes those that fit, and leaves its own to the next job.

Any job on a cluster takes warm actors with its models, and has others give way to its own actors.
With `pools: {keep_warm: 15m}` its actors are such that may stay, and at its end it leaves them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Any

import ray
from ray.exceptions import RayError

import actors
from actors.settings import OracleSettings
from jobs.execution.ray_drivers import number_of_this_driver
from jobs.execution.warm_actor import About, Lease
from jobs.execution.warm_list import known_list, warm_list
from jobs.resolution import Job
from jobs.scaling.initial_sizes import PoolPlan, PoolPlans
from jobs.scaling.warm_actors import Need, Node, WarmActor, giving_way

log = logging.getLogger("bottega.dispatcher")

ANSWER_SECONDS = 5.0
"""The list, and an actor without a call, answer within milliseconds; on a busy machine within a
second. Who does not is done without."""

AGAIN_SECONDS = 30.0
"""A list that did not answer is asked again after so long."""

REST_SECONDS = 5.0
"""A job that ends waits so long for its actors to rest. One that is still at a call rests after
it, since it sees that its driver is gone."""

ROOM_SECONDS = 5.0
"""Between two times that room is made for the same actor: Ray gives it a freed device within a
second, and a node starts its process within a few."""

PACKAGES = ("ray", "torch", "diffusers", "transformers", "tokenizers", "numpy", "pillow")
"""Those that a model or a picture depends on; with them all that is in `actors`."""


class WarmPools:
    """One job's side of it. Ray runs, and is not this process's own."""

    def __init__(self, job: Job, plans: PoolPlans) -> None:
        spec, environment = job.spec, ray.get_runtime_context().runtime_env
        self.keep_seconds = spec.pools.keep_warm_seconds
        self._plans: dict[str, PoolPlan] = {name: getattr(plans, name) for name in plans.sizes}
        self._max_gpus = spec.max_gpus
        self.lease = Lease(
            ray_job=number_of_this_driver(),
            name=spec.name,
            keep_seconds=self.keep_seconds,
            max_gpus=spec.max_gpus,
        )
        self.about = {
            role: About(
                key=key_of(role, settings, job.model_files[role], self._plans[role], environment),
                role=role,
                model=_named(settings),
                cpus=self._plans[role].cpus,
                gpus=self._plans[role].gpus,
            )
            for role, settings in spec.models
            if is_known(settings, environment)
        }
        if self.keep_seconds and "oracle" not in self.about:
            log.info(
                "oracle: no actor of it stays warm. Its class may import any module of this "
                "machine, and another job's may differ; `bottega submit` sends them along"
            )
        self._not_before = 0.0
        self._room_made: dict[str, tuple[float, int]] = {}
        """By an actor's id: when room was made for it, and how often."""

    def keeps(self, pool: str) -> bool:
        """Whether this pool's actors may stay when the job has ended."""
        return self.keep_seconds > 0 and pool in self.about

    def claim(self, pool: str) -> Any | None:
        """A warm actor of this pool's that works for this job from now on; None if none fits."""
        if pool not in self.about:
            return None
        while (found := self._ask("claim", self.about[pool].key)) is not None:
            name, handle = found
            try:
                is_ours = bool(ray.get(handle.lend.remote(self.lease), timeout=ANSWER_SECONDS))
            except RayError as error:
                log.info("a warm %s does not answer and is ended: %s", pool, error)
                ray.kill(handle)
                self._ask("forget", name)
                continue
            if is_ours:
                log.info("%s: a warm actor is taken, which has its model already", pool)
                return handle
        return None

    def leave(self, handles: Collection[Any]) -> None:
        """Have actors rest, for the next job."""
        resting = [handle.rest.remote() for handle in handles]
        if resting:
            ray.wait(resting, num_returns=len(resting), timeout=REST_SECONDS)

    def idle(self) -> dict[str, WarmActor]:
        """The cluster's warm actors, by id: what they have is as good as free."""
        return dict(self._ask("idle") or {})

    def matching(self) -> dict[str, int]:
        """By pool, the warm actors that have its model."""
        keys = [actor.key for actor in self.idle().values()]
        return {pool: keys.count(about.key) for pool, about in self.about.items()}

    def bound(self, gpus: int) -> None:
        """The job holds so many GPUs: with those of actors that it left before, it has no more than
        its `max_gpus`."""
        if self._max_gpus is not None and self._list() is not None:
            self._ask("bound", self.lease.name, max(0, self._max_gpus - gpus))

    def make_room(
        self, waiting: Mapping[str, str], idle: Mapping[str, WarmActor], nodes: Collection[Node]
    ) -> None:
        """End warm actors that are in the way of our own. waiting: by actor's id, its pool."""
        now, needs = monotonic(), []
        for actor, pool in waiting.items():
            when, times = self._room_made.get(actor, (now - ROOM_SECONDS, 0))
            if now - when >= ROOM_SECONDS:
                self._room_made[actor] = now, times + 1
                plan = self._plans[pool]
                needs.append(
                    Need(cpus=plan.cpus, gpus=plan.gpus, labels=plan.node_label, in_vain=times >= 2)
                )
        ending = giving_way(needs, list(nodes), idle)
        if ending and (ended := self._ask("end", ending)):
            roles = sorted(idle[name].role for name in ended)
            log.info("%d warm actors give way to this job's (%s)", len(ended), ", ".join(roles))

    def _list(self) -> Any | None:
        return warm_list() if self.keep_seconds else known_list()

    def _ask(self, method: str, *arguments: Any) -> Any:
        """An answer of the list; None without one."""
        if monotonic() < self._not_before or (known := self._list()) is None:
            return None
        try:
            return ray.get(getattr(known, method).remote(*arguments), timeout=ANSWER_SECONDS)
        except RayError as error:
            self._not_before = monotonic() + AGAIN_SECONDS
            log.warning("the warm actors of the cluster are not known: %s", error)
            return None


def _named(settings: Any) -> str:
    """A model for people: its folder or hub id, or the kind of an oracle without one."""
    return "stand-in" if settings.timed else str(settings.path or settings.kind)


def key_of(
    role: str, settings: Any, fingerprint: str, plan: PoolPlan, environment: Mapping[str, Any]
) -> str:
    """The hash of all that an actor's model and its pictures depend on.

    fingerprint: of the model's files. environment: Ray's runtime environment of the job.
    """
    has = dict(environment)
    if not _has_own_class(settings):
        # The job's own files, which nothing but a class of the user's own is imported from.
        has.pop("working_dir", None)
    told = {
        "role": role,
        "settings": settings.model_dump(mode="json"),
        "files": fingerprint,
        "place": {"gpus": plan.gpus, "labels": plan.node_label, "threads": plan.threads},
        "environment": has,
        "code": _code(),
        "packages": {name: _version(name) for name in PACKAGES},
    }
    return sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


def is_known(settings: Any, environment: Mapping[str, Any]) -> bool:
    """Whether the code of an actor is known, so that it can be compared with another job's.

    A class of the user's own imports what it likes, now or at its first call. Ray names the files
    that travel with a job by their content; what else lies on a node, nobody has looked at.
    """
    return not _has_own_class(settings) or bool(environment.get("working_dir"))


def _has_own_class(settings: Any) -> bool:
    return isinstance(settings, OracleSettings) and any(one.is_own for one in settings.scorers)


@cache
def _code() -> str:
    """The hash of the code of the actors, and of what keeps them."""
    found = sha256()
    package = Path(actors.__file__ or "").parent
    keeps = [Path(__file__).with_name(name) for name in ("warm_actor.py", "ray_drivers.py")]
    for file in sorted([*package.rglob("*.py"), *keeps]):
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
