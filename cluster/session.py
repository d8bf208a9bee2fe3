"""Ray: start one on this machine, or attach to one that runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

import actors
import cluster
import jobs
from actors.errors import ClusterError
from jobs.balance import POOL_LABEL

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Resources:
    """What the cluster has. `pool_labels`: the values of the nodes' label `bottega-pool`."""

    cpus: float
    gpus: float
    object_store_bytes: float
    pool_labels: frozenset[str]


def check_packages() -> None:
    """Refuse to run with another project's `actors`, `jobs` or `cluster` on the path.

    The names are common ones; the wrong one would fail later and less plainly.
    """
    for package in (actors, jobs, cluster):
        found = Path(package.__path__[0]).resolve().parent
        if found != ROOT:
            raise ClusterError(
                f"the package {package.__name__!r} comes from {found}, not from Bottega in {ROOT}. "
                "Start from another folder, or take the other one off PYTHONPATH."
            )


@contextmanager
def ray_session(address: str | None) -> Iterator[Resources]:
    """Attach to the Ray at `address` (or `auto`), or start one here and stop it at the end."""
    # Only the environment reaches the workers, and Ray reads it when it is imported.
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import ray

    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address is None:
            raise ClusterError(f"Ray does not start on this machine: {error}") from error
        raise ClusterError(
            f"no Ray at {address!r}: {error}. Is the address right, does the cluster run, and is "
            "its token in RAY_AUTH_TOKEN or ~/.ray/auth_token? Without --address one starts here."
        ) from error
    try:
        have = ray.cluster_resources()
        labels = (node.get("Labels", {}).get(POOL_LABEL) for node in ray.nodes() if node["Alive"])
        yield Resources(
            cpus=have.get("CPU", 1.0),
            gpus=have.get("GPU", 0.0),
            object_store_bytes=have.get("object_store_memory", inf),
            pool_labels=frozenset(label for label in labels if label),
        )
    finally:
        ray.shutdown()
