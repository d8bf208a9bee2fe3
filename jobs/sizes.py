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

    @property
    def sizes(self) -> dict[str, int]:
        """Actors by pool."""
        plans = {"student": self.student, "oracle": self.oracle, "teacher": self.teacher}
        return {name: plan.size for name, plan in plans.items()}


POOL_LABEL = "bottega-pool"
"""The Ray label of nodes that are meant for one pool; ray_config.yaml sets it."""


def plan_pools(
    pools: PoolsSettings, cpus: float, gpus: float, pool_labels: frozenset[str] = frozenset()
) -> PoolPlans:
    """Sizes for a cluster with `cpus` cores and `gpus` GPUs; what the job file says goes first.

    pool_labels: the values of POOL_LABEL that the cluster's nodes carry. A pool with nodes of its
    own starts its actors there; the oracle goes with the student.
    """
    homes = {"student": "student", "oracle": "student", "teacher": "teacher"}
    for name, home in homes.items():
        settings: PoolSettings = getattr(pools, name)
        if home in pool_labels and not settings.node_label:
            at_home = settings.model_copy(update={"node_label": {POOL_LABEL: home}})
            pools = pools.model_copy(update={name: at_home})
    return _on_gpus(pools, cpus, gpus) if gpus >= 1 else _on_cpus(pools, cpus)


def _on_gpus(pools: PoolsSettings, cpus: float, gpus: float) -> PoolPlans:
    """Student and oracle share GPUs, half each; the teacher, where most time goes, gets the rest.

    A quarter of the GPUs for drawing and scoring suits a student some eight times as fast as the
    teacher at a third of the rows refined. With one GPU everything is on it.
    """
    whole = floor(gpus)
    shared = max(1, whole // 4)
    alone = whole == 1
    share = 0.25 if alone else 0.5
    teachers = 1 if alone else whole - shared
    actors = sum(
        settings.size or size
        for settings, size in (
            (pools.student, shared),
            (pools.oracle, shared),
            (pools.teacher, teachers),
        )
    )

    def plan(settings: PoolSettings, size: int, each: float, reason: str) -> PoolPlan:
        return PoolPlan(
            size=settings.size or size,
            gpus=each if settings.gpus_per_actor is None else settings.gpus_per_actor,
            # A core each where there are enough; few-core GPU machines still have to fit.
            cpus=1.0 if cpus >= actors else 0.1,
            threads=settings.threads_per_actor,
            node_label=settings.node_label,
            reason=f"set in the job file: {settings.size}" if settings.size else reason,
        )

    return PoolPlans(
        student=plan(pools.student, shared, share, f"{shared} of {whole} GPUs, shared"),
        oracle=plan(pools.oracle, shared, share, f"{shared} of {whole} GPUs, shared"),
        teacher=plan(
            pools.teacher,
            teachers,
            0.5 if alone else 1.0,
            "the only GPU, shared" if alone else f"the other {teachers} of {whole} GPUs",
        ),
    )


def _on_cpus(pools: PoolsSettings, cpus: float) -> PoolPlans:
    """Without GPUs the pools share the cores: single-threaded actors, about one a core.

    On few cores a second teacher pays although it makes an actor more than cores: when the student
    has drawn everything, its core would idle (measured: docs/performance.md).
    """
    cores = max(1, floor(cpus))
    students, oracles = max(1, cores // 4), max(1, cores // 8)
    teachers = max(min(2, cores), cores - students - oracles)
    defaults = (students, oracles, teachers)
    settings = (pools.student, pools.oracle, pools.teacher)
    sizes = [s.size or size for s, size in zip(settings, defaults, strict=True)]
    threads = sum(s.threads_per_actor * size for s, size in zip(settings, sizes, strict=True))
    core_of_a_thread = min(1.0, floor(1000 * cores / threads) / 1000)

    def plan(settings: PoolSettings, size: int) -> PoolPlan:
        return PoolPlan(
            size=size,
            gpus=settings.gpus_per_actor or 0.0,
            # Ray takes fractions below one core and whole ones above.
            cpus=_whole_above_one(settings.threads_per_actor * core_of_a_thread),
            threads=settings.threads_per_actor,
            node_label=settings.node_label,
            reason=f"set in the job file: {size}" if settings.size else f"{cores} cores, no GPU",
        )

    student, oracle, teacher = map(plan, settings, sizes)
    return PoolPlans(student, oracle, teacher)


def _whole_above_one(cpus: float) -> float:
    return float(floor(cpus)) if cpus > 1 else cpus
