"""How many actors each pool should have: pure arithmetic, with reasons.

For now the sizes are chosen once, from what the cluster has and what the job file says.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from actors.settings import PoolSettings, PoolsSettings


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """One pool, decided. `cpus` and `gpus` are what an actor asks Ray for."""

    size: int
    gpus: float
    cpus: float
    threads: int
    node_label: dict[str, str]
    reason: str


@dataclass(frozen=True, slots=True)
class PoolPlans:
    """The three pools."""

    student: PoolPlan
    oracle: PoolPlan
    teacher: PoolPlan


def plan_pools(pools: PoolsSettings, cpus: float, gpus: float) -> PoolPlans:
    """Sizes for a cluster with `cpus` cores and `gpus` GPUs; what the job file says goes first."""
    if gpus >= 1:
        return _on_gpus(pools, cpus, gpus)
    return _on_cpus(pools, cpus)


def _on_gpus(pools: PoolsSettings, cpus: float, gpus: float) -> PoolPlans:
    """Student and oracle share GPUs, half each; the teacher, where most time goes, gets the rest.

    A quarter of the GPUs for drawing and scoring suits a student some eight times as fast as the
    teacher at a third of the rows refined. With one GPU everything is on it.
    """
    whole = floor(gpus)
    shared = max(1, whole // 4)
    alone = whole == 1
    share = 0.25 if alone else 0.5

    def plan(settings: PoolSettings, size: int, each: float, reason: str) -> PoolPlan:
        return PoolPlan(
            size=settings.size or size,
            gpus=each if settings.gpus_per_actor is None else settings.gpus_per_actor,
            cpus=1.0 if cpus >= 2 * whole else 0.1,
            threads=settings.threads_per_actor or max(1, floor(cpus / (2 * whole))),
            node_label=settings.node_label,
            reason=f"set in the job file: {settings.size}" if settings.size else reason,
        )

    return PoolPlans(
        student=plan(pools.student, shared, share, f"{shared} of {whole} GPUs, shared"),
        oracle=plan(pools.oracle, shared, share, f"{shared} of {whole} GPUs, shared"),
        teacher=plan(
            pools.teacher,
            1 if alone else whole - shared,
            0.5 if alone else 1.0,
            f"the other {whole - shared} of {whole} GPUs" if not alone else "the only GPU, shared",
        ),
    )


def _on_cpus(pools: PoolsSettings, cpus: float) -> PoolPlans:
    """Without GPUs the pools share the cores: threads and actors together are no more than these.

    One actor of each kind per two cores, single-threaded: measured on two cores (docs/performance.md).
    """
    cores = max(1, floor(cpus))
    each = max(1, cores // 2)
    settings = (pools.student, pools.oracle, pools.teacher)
    sizes = [s.size or each for s in settings]
    threads = max(1, cores // sum(sizes))
    share = min(1.0, floor(100 * cores / sum(sizes)) / 100)

    def plan(settings: PoolSettings, size: int) -> PoolPlan:
        return PoolPlan(
            size=size,
            gpus=settings.gpus_per_actor or 0.0,
            cpus=float(threads) if share == 1.0 else share,
            threads=settings.threads_per_actor or threads,
            node_label=settings.node_label,
            reason=f"set in the job file: {size}" if settings.size else f"{cores} cores, no GPU",
        )

    student, oracle, teacher = map(plan, settings, sizes)
    return PoolPlans(student, oracle, teacher)
