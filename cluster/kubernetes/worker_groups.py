"""The worker groups of a job's cluster: one for each kind of node that a pool has for itself.

A pod has one GPU. The oracle's actors go with the student's, as on every cluster of Bottega
(`jobs/scaling/initial_sizes.py`), so student and oracle share a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from actors.errors import SpecError
from actors.models.presets import WEIGHTS_GB
from actors.settings import DiffusionSettings
from jobs import JobSpec

POOL_LABEL = "bottega-pool"

CORES = 8
"""Of a pod with a GPU, and of the head. A plan counts with as many for each GPU: half of them
encode pictures (docs/plan.md)."""

PROCESS_GB = 2.0
"""Of an actor's process beside its weights: torch, CUDA's context and its pinned memory. Chosen on
the safe side: 0.6 GB were measured without a GPU."""

LOADING = 1.2
"""While weights are loaded a process holds a shard of the file beside what it has read."""

ORACLE_GB = 3.0
"""ImageReward has 1.8 GB, an ensemble or HPSv2 some more."""

STORE_FRACTION = 0.3
"""Ray takes so much of a pod's memory for its object store."""

HEAD_GIB = 16
"""The driver of the largest job takes 0.3 GB (docs/performance.md); the object store, and the files
that the head encodes, take the rest."""

SMALL_GB = 0.5
"""Of models that are no preset of real ones: stand-ins have no weights, the embedded set 14 MB."""


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """Pods of one kind. `gpus`: of each. `least`, `most`: how many there may be."""

    name: str
    labels: Mapping[str, str]
    least: int
    most: int
    gpus: int
    memory_gib: int
    cores: int = CORES


def worker_groups(
    spec: JobSpec, sizes: Mapping[str, int], worker_memory_gib: int | None = None
) -> list[WorkerGroup]:
    """The groups of a job.

    sizes: actors by pool, where the job file does not say how many. worker_memory_gib: of a pod;
    None for what the models need. Raises SpecError where that is not known.
    """
    pools, models = spec.pools, spec.models
    memory = {
        "student": worker_memory_gib or _memory_gib(models.student, "student", ORACLE_GB),
        "teacher": worker_memory_gib or _memory_gib(models.teacher, "teacher"),
    }
    if pools.device == "cpu":
        together = max(memory.values())
        number = max(1, max(sizes.get(name, 1) for name in memory))
        return [WorkerGroup("cpu", {}, number, number, gpus=0, memory_gib=together)]
    groups = []
    for name, gib in memory.items():
        pool = pools.by_name[name]
        if pool.size is not None:
            least = most = pool.size
        elif pools.grow:
            # The first student is there from the beginning: what it draws says what else is needed.
            least = max(pool.min_size, int(name == "student"))
            most = pool.max_size or least
        else:
            least = most = max(1, sizes[name])
        groups.append(WorkerGroup(name, {POOL_LABEL: name}, least, most, gpus=1, memory_gib=gib))
    return groups


def needs_sizes(spec: JobSpec) -> bool:
    """Whether a plan has to say how many actors there are: the job file does not."""
    named = [spec.pools.student, spec.pools.teacher]
    return not spec.pools.grow and any(pool.size is None for pool in named)


def _memory_gib(model: DiffusionSettings, role: str, beside_gb: float = 0.0) -> int:
    """The memory of a pod with one actor of the model. Raises SpecError if its size is unknown."""
    is_small = model.timed is not None or "shapes/weights" in str(model.path)
    weights = SMALL_GB if is_small else WEIGHTS_GB.get(str(model.path))
    if weights is None:
        raise SpecError(
            f"models.{role}.path: {str(model.path)!r} is in no preset, so the memory of its pods "
            "is not known. Give --worker-memory, in GiB: twice the weights' files, and 8 more."
        )
    processes = PROCESS_GB + (PROCESS_GB if beside_gb else 0.0)
    needed = (LOADING * weights + beside_gb + processes) / (1 - STORE_FRACTION)
    return 4 * ceil(needed * 1e9 / 2**30 / 4)
