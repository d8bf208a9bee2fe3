"""The resources of a cluster: all of them, and those that nobody uses now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from actors.errors import ClusterError
from jobs.scaling.initial_sizes import POOL_LABEL
from jobs.scaling.warm_actors import Node


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of a cluster. `labelled_gpus`: by the nodes' label `bottega-pool`.

    `alone`: this process started the Ray, and no node joins it. `num_writers`: the nodes
    that may write parts; those with cores, as far as Ray knows. `node_gpus`: of the node with the
    most; an actor of several GPUs has them on one node.
    """

    cpus: float
    gpus: float
    object_store_bytes: float = inf
    labelled_gpus: Mapping[str, float] = field(default_factory=dict)
    alone: bool = False
    num_writers: int = 1
    node_gpus: float = inf

    @property
    def file_slots(self) -> int:
        """Files that are encoded and written at once: the actors compute on the other half of the
        cores."""
        return max(1, int(self.cpus / 2))

    @classmethod
    def of_ray(cls) -> Resources:
        """Those of the Ray that this process is connected to. Raises ClusterError without one."""
        import ray  # here, so that a plan needs no Ray

        if not ray.is_initialized():
            raise ClusterError(
                "this process is connected to no Ray. Call `ray.init()` first, or start one for "
                "the job: `with cluster.session.ray_session(): ...`."
            )
        nodes = [node for node in ray.nodes() if node["Alive"]]
        here = ray._private.worker._global_node  # there is no public way
        alone = here is not None and here.head
        return replace(_sum([(node["Resources"], node) for node in nodes]), alone=alone)

    @classmethod
    def free_in_ray(cls, also: Mapping[str, tuple[float, float]] = {}) -> Resources:
        """The part of them that nobody uses now, on the nodes that are there.

        also: by node, cores and GPUs that are as good as free.
        """
        found: list[tuple[Mapping[str, float], Mapping[str, Any]]] = []
        for node, free in _free_by_node():
            cpus, gpus = also.get(node["NodeID"], (0.0, 0.0))
            more = {"CPU": free.get("CPU", 0.0) + cpus, "GPU": free.get("GPU", 0.0) + gpus}
            found.append(({**free, **more}, node))
        return _sum(found)


def free_nodes() -> list[Node]:
    """The nodes that are there, with what nobody uses of them now."""
    return [
        Node(
            id=node["NodeID"],
            cpus=free.get("CPU", 0.0),
            gpus=free.get("GPU", 0.0),
            labels=node.get("Labels", {}),
        )
        for node, free in _free_by_node()
    ]


def _free_by_node() -> list[tuple[Mapping[str, Any], Mapping[str, float]]]:
    import ray

    # There is no public way to read it by node. Ray leaves out what is used up.
    free = ray._private.state.available_resources_per_node()
    return [(node, free.get(node["NodeID"], {})) for node in ray.nodes() if node["Alive"]]


def _sum(nodes: list[tuple[Mapping[str, float], Mapping[str, Any]]]) -> Resources:
    """Of each node: its resources, and what Ray says of it."""
    labelled: dict[str, float] = {}
    for have, node in nodes:
        if label := node.get("Labels", {}).get(POOL_LABEL):
            labelled[label] = labelled.get(label, 0.0) + have.get("GPU", 0.0)
    return Resources(
        cpus=sum(have.get("CPU", 0.0) for have, _ in nodes),
        gpus=sum(have.get("GPU", 0.0) for have, _ in nodes),
        # 0 is an answer of Ray's that says nothing, not an object store without a byte.
        object_store_bytes=sum(have.get("object_store_memory", 0.0) for have, _ in nodes) or inf,
        labelled_gpus=labelled,
        node_gpus=max((have.get("GPU", 0.0) for have, _ in nodes), default=0.0),
        num_writers=max(1, sum(have.get("CPU", 0.0) > 0 for have, _ in nodes)),
    )
