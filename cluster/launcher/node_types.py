"""The node types of a cluster's file, as the checks read them. Ray's schema has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

POOL_LABEL = "bottega-pool"

HOMES = ("student", "teacher")
"""The values of POOL_LABEL that pools look for; the oracle goes with the student."""


@dataclass(frozen=True, slots=True)
class NodeType:
    """A kind of node. `least`, `most`: how many there may be; of the head one."""

    name: str
    cores: float
    gpus: float
    labels: Mapping[str, str]
    least: int
    most: int
    object_store_bytes: float | None
    node_config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster's file. `workers`: every type but the head's."""

    config: Mapping[str, Any]
    head: NodeType
    workers: tuple[NodeType, ...]

    @property
    def max_workers(self) -> int:
        """Of all types together; Ray's default is 2."""
        return int(self.config.get("max_workers", 2))

    def starts(self, where: str) -> list[str]:
        """The commands that start Ray on the `head` or on a `worker`."""
        commands = self.config.get(f"{where}_start_ray_commands") or []
        return [command for command in commands if "ray start" in command]


def cluster_of(config: Mapping[str, Any]) -> Cluster:
    """The cluster of a file that Ray's schema has accepted."""
    types = config.get("available_node_types", {})
    head_name = config.get("head_node_type", "")
    made = {name: _node_type(name, fields, config) for name, fields in types.items()}
    head = made.get(head_name) or NodeType(head_name, 0, 0, {}, 0, 0, None, {})
    workers = tuple(node for name, node in made.items() if name != head_name)
    return Cluster(config, head, workers)


def _node_type(name: str, fields: Mapping[str, Any], config: Mapping[str, Any]) -> NodeType:
    resources = fields.get("resources") or {}
    store = resources.get("object_store_memory")
    return NodeType(
        name=name,
        cores=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        labels=fields.get("labels") or {},
        least=int(fields.get("min_workers", 0)),
        # As Ray fills it in.
        most=int(fields.get("max_workers", config.get("max_workers", 2))),
        object_store_bytes=None if store is None else float(store),
        node_config=fields.get("node_config") or {},
    )
