"""From a job and the resources that there are to its dispatcher: pools planned, none started.

The command, the Python API, a plan on the virtual clock and the benchmarks all come here, so that
the same job on the same resources begins with the same pools. It is not in `cluster`, because
`jobs.planning` needs it, and `jobs` imports nothing of `cluster`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from actors.errors import ClusterError
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.executor import Executor
from jobs.resolution import Job
from jobs.scaling.initial_sizes import POOL_LABEL, PoolPlans, guess_loads, plan_pools


@dataclass(frozen=True, slots=True)
class Resources:
    """What a cluster has. `labelled_gpus`: by the nodes' label `bottega-pool`."""

    cpus: float
    gpus: float
    object_store_bytes: float = inf
    labelled_gpus: Mapping[str, float] = field(default_factory=dict)


def resources_of_ray() -> Resources:
    """The resources of the Ray that this process is connected to. Raises ClusterError for none."""
    import ray  # here, so that a plan needs no Ray

    if not ray.is_initialized():
        raise ClusterError(
            "no Ray runs in this process. Call `ray.init()` first, or give one that starts when "
            "it is needed: `session=cluster.session.ray_session()`."
        )
    have = ray.cluster_resources()
    labelled: dict[str, float] = {}
    for node in ray.nodes():
        label = node.get("Labels", {}).get(POOL_LABEL)
        if node["Alive"] and label:
            labelled[label] = labelled.get(label, 0.0) + node["Resources"].get("GPU", 0.0)
    return Resources(
        cpus=have.get("CPU", 1.0),
        gpus=have.get("GPU", 0.0),
        object_store_bytes=have.get("object_store_memory", inf),
        labelled_gpus=labelled,
    )


def pools_for(job: Job, have: Resources) -> PoolPlans:
    """The pools that the job begins with on these resources."""
    return plan_pools(job.spec.pools, have.cpus, have.gpus, have.labelled_gpus, guess_loads(job))


def make_dispatcher(
    job: Job,
    executor: Executor,
    plans: PoolPlans,
    have: Resources,
    should_stop: Callable[[], bool] = lambda: False,
) -> Dispatcher:
    """The dispatcher of these pools, whichever executor carries it out.

    Half of the cores encode and write files at once; the other half is for the actors' own work.
    """
    return Dispatcher(
        job,
        executor,
        plans.sizes,
        task_slots=max(1, int(have.cpus / 2)),
        object_store_bytes=have.object_store_bytes,
        should_stop=should_stop,
        capacity=plans.capacity,
    )


def dispatcher_on_ray(
    job: Job, have: Resources, should_stop: Callable[[], bool] = lambda: False
) -> Dispatcher:
    """The job's dispatcher on the Ray that this process is connected to."""
    from jobs.execution.ray_executor import RayExecutor

    plans = pools_for(job, have)
    return make_dispatcher(job, RayExecutor(job, plans), plans, have, should_stop)
