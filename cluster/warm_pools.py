"""The warm actors of the cluster that this process is attached to, for people and programs."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError

from actors.errors import ClusterError
from jobs.execution.warm_list import known_list

ANSWER_SECONDS = 20.0
"""The list answers within milliseconds, or its node is gone and it starts anew somewhere else."""


RESTART_SECONDS = 0.5
"""Between two questions to a list that Ray starts anew, which takes it some seconds."""


def warm_actors() -> list[dict[str, Any]]:
    """Each of them: what it is, where, who left it, and how long it stays; those with most time
    first."""
    hosts = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
    idle = _ask("idle") or {}
    return [
        {
            "actor": name,
            "role": actor.role,
            "model": actor.model,
            "settings": actor.key,
            "left_by": actor.owner,
            "host": hosts.get(actor.node, actor.node),
            "node": actor.node,
            "gpus": actor.gpus,
            "gpu_ids": list(actor.devices),
            "cpus": actor.cpus,
            "seconds_left": round(actor.seconds_left, 1),
        }
        for name, actor in idle.items()
    ]


def end_all() -> list[dict[str, Any]]:
    """End the warm actors; returns those that are ended. One that a job has just taken stays."""
    found = warm_actors()
    ended = set(_ask("end", [actor["actor"] for actor in found]) or ())
    return [actor for actor in found if actor["actor"] in ended]


def _ask(method: str, *arguments: Any) -> Any:
    """An answer of the list; None where no job ever kept an actor. Raises ClusterError."""
    if (known := known_list()) is None:
        return None
    deadline = monotonic() + ANSWER_SECONDS
    while True:
        try:
            return ray.get(getattr(known, method).remote(*arguments), timeout=ANSWER_SECONDS)
        except RayError as error:
            # Ray starts it anew where its process died; until then it is unavailable.
            if isinstance(error, ActorUnavailableError) and monotonic() < deadline:
                sleep(RESTART_SECONDS)
                continue
            raise ClusterError(
                f"the list of warm actors does not answer: {error}. Its node may be gone; Ray "
                "starts it anew on another one, and the actors are on it again within seconds."
            ) from error
