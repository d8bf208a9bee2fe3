"""The pools that a job begins with: sizes, and what each actor asks Ray for. Pure, with reasons.

What the job file says goes first. Until something is measured, the models' network evaluations say
how the work is spread; jobs/scaling/policy.py corrects that while the job runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor

from actors.pool_settings import PoolSettings, PoolsSettings
from jobs.resolve import Job
from jobs.scaling.capacity import UNITS, Capacity, Devices, devices_needed

POOLS = ("student", "oracle", "teacher")
HOMES = {"student": "student", "oracle": "student", "teacher": "teacher"}
"""By pool: whose nodes it uses."""

POOL_LABEL = "bottega-pool"
"""The Ray label of nodes that are meant for one pool; ray_config.yaml sets it."""

MAIN_SHARE, ORACLE_SHARE = 0.9, 0.1
"""Of a GPU. So each GPU has room for a student or a teacher, whichever is wanted more, and the
small oracle finds its place beside any of them: no GPU is empty because the wrong half is free.
"""

OTHER_EVALUATIONS = 6.0
"""What reading the prompt and decoding take, in network evaluations.

As the published profiles have it: SD-Turbo with 1 evaluation and Stable Diffusion 1.5 with 100 are
1 : 16.8 at batches of 16, SDXL-Lightning with 2 and SDXL with 100 are 1 : 11.1.
"""

ORACLE_EVALUATIONS = 2.0
"""What scoring takes, likewise: a guess."""

SPARE = 1.25
"""The oracle gets so much more than it needs."""

MIN_CORES = 8
"""With fewer the system's own scheduler balances better: an idle actor costs a core nothing."""


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
    """The three pools. `capacity`: what they share; None if no size is to change."""

    student: PoolPlan
    oracle: PoolPlan
    teacher: PoolPlan
    capacity: Capacity | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """Actors by pool."""
        plans = {"student": self.student, "oracle": self.oracle, "teacher": self.teacher}
        return {name: plan.size for name, plan in plans.items()}


@dataclass(frozen=True, slots=True)
class Loads:
    """What is thought of the work before it begins: of one row in each pool, in any unit.

    `rejected`: the fraction of rows that the teacher will get. `draws`: pictures that are scored of
    each drawn row.
    """

    student: float = 1.0
    oracle: float = 0.25
    teacher: float = 8.0
    rejected: float = 0.3
    draws: int = 1


def guess_loads(job: Job) -> Loads:
    """By network evaluations; a budget that says nothing of the fraction is taken for 0.3."""
    budget = job.spec.budget
    rejected = Loads().rejected if budget.refine is None else budget.refine
    if budget.nfe is not None:
        rejected = min(1.0, max(0.0, budget.nfe - job.student_nfe) / job.teacher_nfe)
    return Loads(
        student=OTHER_EVALUATIONS * job.spec.draws + job.student_nfe,
        oracle=ORACLE_EVALUATIONS,
        teacher=OTHER_EVALUATIONS + job.teacher_nfe,
        rejected=rejected,
        draws=job.spec.draws,
    )


def plan_pools(
    pools: PoolsSettings,
    cpus: float,
    gpus: float,
    labelled: Mapping[str, float] | None = None,
    loads: Loads = Loads(),
) -> PoolPlans:
    """Sizes for a cluster with `cpus` cores and `gpus` GPUs; what the job file says goes first.

    labelled: by the values of POOL_LABEL, the GPUs of the nodes that carry it. A pool with nodes of
    its own starts its actors there; the oracle goes with the student.
    """
    labelled = labelled or {}
    if pools.grow:
        gpus, labelled = _grown(pools, gpus, labelled)
    for name, home in HOMES.items():
        settings: PoolSettings = getattr(pools, name)
        if home in labelled and not settings.node_label:
            at_home = settings.model_copy(update={"node_label": {POOL_LABEL: home}})
            pools = pools.model_copy(update={name: at_home})
    if gpus < 1:
        return _on_cpus(pools, cpus)
    return _on_gpus(pools, cpus, _devices(gpus, labelled), loads)


def _grown(
    pools: PoolsSettings, gpus: float, labelled: Mapping[str, float]
) -> tuple[float, dict[str, float]]:
    """GPUs, and those by label, of a cluster that has grown as far as the pools may."""
    needed = {}
    for home in dict.fromkeys(HOMES.values()):
        counts: dict[int, int] = {}
        for name in (name for name in POOLS if HOMES[name] == home):
            own: PoolSettings = getattr(pools, name)
            share = own.gpus_per_actor
            if share is None:
                share = ORACLE_SHARE if name == "oracle" else MAIN_SHARE
            units = round(share * UNITS)
            counts[units] = counts.get(units, 0) + (own.size or own.max_size or 1)
        needed[home] = float(devices_needed(tuple(sorted(counts.items(), reverse=True))))
    if not labelled:
        return max(gpus, sum(needed.values())), {}
    grown = {home: max(count, labelled.get(home, 0.0)) for home, count in needed.items()}
    return gpus - sum(labelled.values()) + sum(grown.values()), grown


def limits(settings: PoolSettings, least: int = 0) -> tuple[int, int]:
    """The fewest and the most actors that the job file allows; `least`: that make sense."""
    if settings.size is not None:
        return settings.size, settings.size
    most = 1_000_000 if settings.max_size is None else settings.max_size
    return min(most, max(least, settings.min_size)), most


def _devices(gpus: float, labelled: Mapping[str, float]) -> tuple[Devices, ...]:
    """GPUs with the pools that may use them: a pool with nodes of its own uses no others."""
    groups: dict[frozenset[str], int] = {}
    others = floor(gpus)
    for label, count in labelled.items():
        pools = frozenset(pool for pool, home in HOMES.items() if home == label)
        others -= floor(count)
        if pools and count >= 1:
            groups[pools] = groups.get(pools, 0) + floor(count)
    free = frozenset(pool for pool, home in HOMES.items() if home not in labelled)
    if free and others > 0:
        groups[free] = groups.get(free, 0) + others
    return tuple(Devices(count, pools) for pools, count in groups.items())


def _on_gpus(
    pools: PoolsSettings, cpus: float, devices: tuple[Devices, ...], loads: Loads
) -> PoolPlans:
    """As many students as keep the teachers fed, or a little more; the rest are teachers.

    A student too many draws ahead, and goes when it has nothing more to draw; a student too few
    lets teachers idle.
    """
    count = sum(each.count for each in devices)
    main = MAIN_SHARE / 2 if count == 1 else MAIN_SHARE
    defaults = {"student": main, "oracle": ORACLE_SHARE, "teacher": main}
    settings: dict[str, PoolSettings] = {name: getattr(pools, name) for name in POOLS}
    shares = {
        name: defaults[name] if own.gpus_per_actor is None else own.gpus_per_actor
        for name, own in settings.items()
    }
    capacity = Capacity(devices, shares, elastic=pools.grow)
    sizes = _first_sizes(capacity, settings, loads)
    if pools.grow:
        busy = sizes["student"] / loads.student * loads.rejected * loads.teacher
        fewest, _ = limits(pools.teacher)
        sizes["teacher"] = max(fewest, min(sizes["teacher"], ceil(busy)))
    # Where all have room on one GPU together there is nothing to hand over.
    together = count == 1 and capacity.fits(dict.fromkeys(POOLS, 1))
    if together:
        sizes = {name: limits(own, least=1)[0] for name, own in settings.items()}
    actors = max(2 * count, sum(sizes.values()))
    fixed = together or all(own.size is not None for own in settings.values())

    most = "at most " if pools.grow else ""

    def plan(name: str) -> PoolPlan:
        own = settings[name]
        return PoolPlan(
            size=sizes[name],
            gpus=shares[name],
            # A core each where there are enough; few-core GPU machines still have to fit.
            cpus=1.0 if cpus >= actors else 0.1,
            threads=own.threads_per_actor,
            node_label=own.node_label,
            reason=f"set in the job file: {own.size}"
            if own.size
            else f"to begin with on {most}{count} GPUs, {shares[name]:g} each",
        )

    student, oracle, teacher = map(plan, POOLS)
    return PoolPlans(student, oracle, teacher, None if fixed else capacity)


def _first_sizes(
    capacity: Capacity, settings: Mapping[str, PoolSettings], loads: Loads
) -> dict[str, int]:
    fewest, most = {}, {}
    for name, own in settings.items():
        fewest[name], most[name] = limits(own, least=int(name != "teacher"))
    sizes = dict(fewest)

    def fitting(name: str, others: Mapping[str, int]) -> int:
        share = capacity.shares[name]
        bound = floor(capacity.count / share) if share else max(1, capacity.count)
        return max(fewest[name], capacity.most(name, others, min(most[name], bound)))

    ceiling = fitting("student", {name: fewest[name] for name in ("oracle", "teacher")})
    while True:
        beside = {name: sizes[name] for name in ("student", "oracle")}
        sizes["teacher"] = fitting("teacher", beside) if loads.rejected else fewest["teacher"]
        drawn = sizes["student"] / loads.student
        refined = min(drawn * loads.rejected, sizes["teacher"] / loads.teacher)
        scored = drawn * loads.draws + refined
        wanted = max(fewest["oracle"], min(most["oracle"], ceil(scored * loads.oracle * SPARE)))
        without_teachers = {name: sizes[name] for name in ("student", "teacher")}
        sizes["oracle"] = min(wanted, fitting("oracle", without_teachers))
        fed = drawn * loads.rejected * loads.teacher >= sizes["teacher"]
        if sizes["student"] >= ceiling or (fed and loads.rejected):
            return sizes
        sizes["student"] += 1


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
    sizes = [
        s.size or max(s.min_size, min(size, s.max_size or size))
        for s, size in zip(settings, defaults, strict=True)
    ]
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

    shared = Devices(cores, frozenset(POOLS))
    shares = {name: float(own.threads_per_actor) for name, own in zip(POOLS, settings, strict=True)}
    fixed = cores < MIN_CORES or all(own.size is not None for own in settings)
    capacity = None if fixed else Capacity((shared,), shares, "core")
    student, oracle, teacher = map(plan, settings, sizes)
    return PoolPlans(student, oracle, teacher, capacity)


def _whole_above_one(cpus: float) -> float:
    return float(floor(cpus)) if cpus > 1 else cpus
