"""The actors that a cluster has one of each: they outlive the drivers that use them."""

from __future__ import annotations

from typing import Any

import ray

NAMESPACE = "bottega"


def one_of_cluster(kind: type, name: str, **options: Any) -> Any:
    """The cluster's actor of this name, which is started where there is none.

    It is found or made anew each time that it is asked for: the node that it was on may be gone. It
    takes no core, and Ray starts it again where its process dies. options: more of Ray's.
    """
    actor: Any = ray.remote(kind).options(
        name=name,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        **options,
    )
    return actor.remote()


def known_of_cluster(name: str) -> Any | None:
    """The cluster's actor of this name; None where nobody has started it."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None
