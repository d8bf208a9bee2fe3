"""The pools that a job begins with: sizes, and each actor's Ray resources. Pure, with reasons.

The job file has precedence. Until something is measured, the models' network evaluations say how
the work is spread; jobs/scaling/policy.py corrects that while the job runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, inf, sqrt

import numpy as np
import numpy.typing as npt

from actors.pool_settings import MAIN_SHARE, ORACLE_SHARE, PoolSettings, PoolsSettings
from jobs.resolution import Job
from jobs.scaling.capacity import UNITS, Capacity, Devices, devices_needed
from jobs.scaling.decision import NO_LIMIT
from jobs.scaling.look_ahead import SURPRISES
from jobs.scaling.pricing import ORACLE_SPARE
from jobs.scaling.rungs import RungLoads, expected_loads
from jobs.scaling.schedule import MOST_CALLS, Work, expected_calls, seconds_in_all
from jobs.spec.ladder import Score
from jobs.spec.threshold import certain

POOLS = ("student", "oracle", "teacher")
HOMES = {"student": "student", "oracle": "student", "teacher": "teacher"}
"""By pool: the pool whose nodes it uses. An oracle's pictures come from the student."""

POOL_LABEL = "bottega-pool"
"""The Ray label of nodes for one pool; ray_config.yaml sets it."""

OTHER_EVALUATIONS = 6.0
"""The time to encode a prompt and decode a picture, in network evaluations.

It comes near the published profiles: SD-Turbo with 1 evaluation and Stable Diffusion 1.5 with 100
are 1 : 16.8 at batches of 16, SDXL-Lightning with 2 and SDXL with 100 are 1 : 11.1.
"""

ORACLE_EVALUATIONS = 2.0
"""The time to score a picture, likewise. A guess: too many oracles cost little, and later the sizes
follow measured calls.
"""

Numbers = npt.NDArray[np.float64]

LOAD_EVALUATIONS = 500.0
"""An actor loads about as long as so many network evaluations of a row take. It is not known yet:
models load for 1 to 60 s, and by the published profiles an evaluation takes 0.007 s (SD-Turbo) to
0.056 s (SDXL-Lightning). So this is 10 s of 0.02 s, and may be wrong by LOADS."""

LOADS = ((1 / 16, 0.1), (1 / 4, 0.25), (1.0, 0.3), (4.0, 0.25), (16.0, 0.1))
"""Times as long as guessed, with weights: the sizes are those that lose least on average. The
extremes are those of both ranges together."""

GUESSED_ROWS = 8.0
"""Judged rows that a guessed rejected fraction counts for, so that the first batch outweighs it."""

WORTH_IT = 0.998
"""Other sizes than those that just keep the teachers busy should end this much earlier. The model
of a schedule is 0.2 % short in the middle, so a smaller gain says nothing."""

MOVE_LOADS = 10.0
"""Of an actor, that its move costs then: it finishes the calls that it has, and loads, and the move
comes late, since it is made when enough is measured. Measured on some 60 jobs of
benchmarks/regret.py: with 3 (and 1 % for WORTH_IT) they take 3.7 % longer than the best plan by
hindsight, with 10 2.9 %, with 100 3.2 %, and with 3 and the true loading times 2.7 %."""

NUMBERS_TRIED = 24
"""Of students, evenly over a large cluster; and as many around the number that keeps the teachers
busy."""

MIN_CORES = 8
"""With fewer cores the sizes stay. Chosen: on few cores the operating system moves a core from an
idle actor to a busy one at once, and loading a model takes longer than that could gain.
"""


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """One pool. `cpus`, `gpus`: what each of its actors requests from Ray."""

    size: int
    gpus: float
    cpus: float
    threads: int
    node_label: dict[str, str]
    reason: str


@dataclass(frozen=True, slots=True)
class PoolPlans:
    """The three pools. `capacity`: the devices that they share; None if the sizes stay.

    `places`: the devices on which these actors have their places, whether the sizes stay or not.
    """

    student: PoolPlan
    oracle: PoolPlan
    teacher: PoolPlan
    capacity: Capacity | None = None
    places: Capacity | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """Actors by pool."""
        plans = {"student": self.student, "oracle": self.oracle, "teacher": self.teacher}
        return {name: plan.size for name, plan in plans.items()}


@dataclass(frozen=True, slots=True)
class Loads:
    """The expected work of one row in each pool, in any unit they share.

    `rejected`: the fraction of rows that the teacher will get, known from `sample_rows` of the
    `rows`. `draws`: pictures that the oracle scores of each drawn row. `draw_rows`, `refine_rows`:
    of a call. The defaults are guesses for tests and for sizes without a job.
    """

    student: float = 1.0
    oracle: float = 0.25
    teacher: float = 8.0
    rejected: float = 0.3
    draws: float = 1
    rows: float = inf
    draw_rows: int = 1
    refine_rows: int = 1
    part_rows: int = 1024
    sample_rows: float = 256

    def surprise(self, deviations: float) -> float:
        """The fraction that will be rejected, so many standard deviations from what is expected."""
        # The sample's rows are rows of the job: of one that is all of it the fraction is certain.
        unknown = max(0.0, 1 / self.sample_rows - 1 / self.rows)
        spread = sqrt(self.rejected * (1 - self.rejected) * unknown)
        return min(1.0, max(0.0, self.rejected + deviations * spread))


def expected_rungs(job: Job) -> RungLoads:
    """How many rows take each rung, by the job file. A threshold that is a score counts as 0.3, and
    so does a budget that gives no fraction."""
    spec, budget = job.spec, job.spec.budget
    below: list[float | None]
    if spec.ladder is not None:
        passing = [attempt.passing for attempt in spec.attempts[1:]]
        below = [None if isinstance(one, Score) else one for one in passing]
    elif budget.nfe is not None:
        below = [min(1.0, max(0.0, budget.nfe - job.student_nfe) / job.teacher_nfe)]
    else:
        below = [budget.refine]
    return expected_loads(spec.attempts, below)


def guess_loads(job: Job) -> Loads:
    """By network evaluations."""
    rungs = expected_rungs(job)
    spent = zip(rungs.fractions, rungs.by_teacher, job.rung_nfe, strict=True)
    refining = sum(taken * (OTHER_EVALUATIONS + nfe) for taken, teacher, nfe in spent if teacher)
    drawing, further = OTHER_EVALUATIONS * job.spec.draws + job.student_nfe, rungs.drawings - 1
    once = drawing / job.spec.draws
    return Loads(
        student=drawing + further * once,
        oracle=ORACLE_EVALUATIONS,
        teacher=refining / rungs.to_teacher
        if rungs.to_teacher
        else OTHER_EVALUATIONS + job.teacher_nfe,
        rejected=rungs.to_teacher,
        draws=job.spec.draws + further,
        rows=job.prompts.num_rows,
        draw_rows=job.spec.models.student.batch_size,
        refine_rows=job.spec.models.teacher.batch_size,
        part_rows=job.spec.part_rows,
        # A threshold that needs no sample says nothing of the fraction.
        sample_rows=GUESSED_ROWS if certain(job.spec) else job.sample_size,
    )


def plan_pools(
    pools: PoolsSettings,
    cpus: float,
    gpus: float,
    labelled: Mapping[str, float] | None = None,
    loads: Loads = Loads(),
) -> PoolPlans:
    """Sizes for a cluster with `cpus` cores and `gpus` GPUs. The job file has precedence.

    labelled: by value of POOL_LABEL, the GPUs of the nodes with that label. A pool with nodes of
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
    if gpus < 1 or pools.device == "cpu":
        return _on_cpus(pools, cpus)
    return _on_gpus(pools, cpus, _devices(gpus, labelled), loads)


def _grown(
    pools: PoolsSettings, gpus: float, labelled: Mapping[str, float]
) -> tuple[float, dict[str, float]]:
    """GPUs, and GPUs by label, of a cluster grown to the pools' limits."""
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
    """The fewest and the most actors of a pool by the job file, but no fewer than `least`."""
    if settings.size is not None:
        return settings.size, settings.size
    most = NO_LIMIT if settings.max_size is None else settings.max_size
    return min(most, max(least, settings.min_size)), most


def _devices(gpus: float, labelled: Mapping[str, float]) -> tuple[Devices, ...]:
    """GPUs with the pools that may use them."""
    groups = by_group(gpus, labelled)
    # Also a group without any: its nodes may join later.
    return tuple(Devices(floor(count), pools) for pools, count in groups.items())


def by_group(gpus: float, labelled: Mapping[str, float]) -> dict[frozenset[str], float]:
    """Of `gpus` GPUs, of which some are `labelled`, those that each group of pools may use.

    A pool with nodes of its own uses no others.
    """
    groups: dict[frozenset[str], float] = {}
    others = gpus
    for label, count in labelled.items():
        pools = frozenset(pool for pool, home in HOMES.items() if home == label)
        others -= count
        if pools:
            groups[pools] = groups.get(pools, 0.0) + count
    anywhere = frozenset(pool for pool, home in HOMES.items() if home not in labelled)
    if anywhere:
        groups[anywhere] = groups.get(anywhere, 0.0) + others
    return groups


def _on_gpus(
    pools: PoolsSettings, cpus: float, devices: tuple[Devices, ...], loads: Loads
) -> PoolPlans:
    """As many students as keep the teachers busy, or a little more; the rest are teachers.

    A surplus student draws ahead, and goes when everything is drawn; a missing one lets teachers
    idle. In a short job more draw ahead (`_fastest`).
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
    sizes = sizes_on(capacity, pools, loads)
    if pools.grow:
        busy = sizes["student"] / loads.student * loads.rejected * loads.teacher
        fewest, _ = limits(pools.teacher)
        sizes["teacher"] = max(fewest, min(sizes["teacher"], ceil(busy)))
    # Where all three fit on one GPU there is nothing to hand over.
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
            # A core each where there are enough; on few cores they still have to fit, and Ray only
            # counts: a tenth is chosen to be small.
            cpus=1.0 if cpus >= actors else 0.1,
            threads=own.threads_per_actor,
            node_label=own.node_label,
            reason=f"set in the job file: {own.size}"
            if own.size
            else f"to begin with on {most}{count} GPUs, {shares[name]:g} each",
        )

    student, oracle, teacher = map(plan, POOLS)
    return PoolPlans(student, oracle, teacher, None if fixed else capacity, capacity)


def sizes_on(capacity: Capacity, pools: PoolsSettings, loads: Loads) -> dict[str, int]:
    """The sizes to begin with on these devices, within the job file's limits."""
    fewest, most = {}, {}
    for name, own in pools.by_name.items():
        fewest[name], most[name] = limits(own, least=int(name != "teacher"))

    def fitting(name: str, others: Mapping[str, int]) -> int:
        share = capacity.shares[name]
        bound = floor(capacity.count / share) if share else max(1, capacity.count)
        return max(fewest[name], capacity.most(name, others, min(most[name], bound)))

    def beside(students: int) -> dict[str, int]:
        """All teachers that fit beside these students, and the oracles that both need."""
        sizes = {**fewest, "student": students}
        if loads.rejected:
            sizes["teacher"] = fitting("teacher", {**sizes, "teacher": 0})
        drawn = students / loads.student
        refined = min(drawn * loads.rejected, sizes["teacher"] / loads.teacher)
        scored = drawn * loads.draws + refined
        wanted = ceil(scored * loads.oracle * ORACLE_SPARE)
        wanted = max(fewest["oracle"], min(most["oracle"], wanted))
        sizes["oracle"] = min(wanted, fitting("oracle", {**sizes, "oracle": 0}))
        return sizes

    ceiling = fitting("student", {name: fewest[name] for name in ("oracle", "teacher")})
    if not loads.rejected or not most["teacher"]:
        return beside(ceiling)
    # A teacher that loads beside the students costs nothing; after them, everybody waits.
    beside_one = fitting("student", {**fewest, "student": 0, "teacher": 1})
    every, ceiling = ceiling, beside_one if 2 <= beside_one < ceiling else ceiling

    def are_fed(students: int) -> bool:
        arriving = students / loads.student * loads.rejected
        return arriving * loads.teacher >= beside(students)["teacher"]

    low, high = fewest["student"], ceiling
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if are_fed(middle) else (middle + 1, high)
    if capacity.elastic or pools.early_parts or loads.rows == inf:
        return beside(low)
    around = range(low - NUMBERS_TRIED // 2, low + NUMBERS_TRIED // 2)
    evenly = (round(ceiling * place / NUMBERS_TRIED) for place in range(NUMBERS_TRIED + 1))
    tried = {n for n in {*around, *evenly} if fewest["student"] <= n <= ceiling}
    # But in a short job it may not come to that: everything is drawn first.
    calls = max(low, ceil(loads.rows / loads.draw_rows))
    numbers = sorted(n for n in {*tried, every} if n <= calls)
    candidates = [beside(n) for n in numbers]
    lost = _lost(candidates, beside(fewest["student"])["teacher"], loads)
    found = int(np.argmin(lost))
    busy = numbers.index(low)
    return candidates[found if lost[found] < WORTH_IT * lost[busy] else busy]


def _lost(candidates: list[dict[str, int]], most_teachers: int, loads: Loads) -> Numbers:
    """How many times as long as with the best each takes, added up over what is not known yet."""
    lost = np.zeros(len(candidates))
    devices = max(sizes["student"] + sizes["teacher"] for sizes in candidates)
    for deviations, chance in SURPRISES:
        for times, weight in LOADS:
            work = _work(loads, deviations, times * LOAD_EVALUATIONS)
            seconds = [
                seconds_in_all(
                    work,
                    sizes["student"],
                    sizes["oracle"],
                    sizes["teacher"],
                    most_teachers - sizes["teacher"],
                )
                for sizes in candidates
            ]
            # Once the first have loaded, actors may change pools.
            numbers = np.array([sizes["student"] for sizes in candidates])
            moved = (
                MOVE_LOADS * np.abs(numbers[:, np.newaxis] - numbers) * work.load_seconds / devices
            )
            best = (np.array(seconds) + moved).min(axis=1)
            if 0 < best.min() < inf:  # stand-ins may take no time at all
                lost += chance * weight * best / best.min()
    return lost


def _work(loads: Loads, deviations: float, load: float) -> Work:
    """If so many standard deviations more are rejected. load: of an actor, as `loads` counts."""
    rejected = loads.surprise(deviations)
    whole, rest = divmod(int(loads.rows), loads.part_rows)
    parts = [(whole, loads.part_rows), (1, rest)]
    draws = sum(n * ceil(rows / loads.draw_rows) for n, rows in parts)
    refines = ceil(
        sum(n * expected_calls(rows, rejected, loads.refine_rows) for n, rows in parts if rows)
    )
    fewer = min(1.0, MOST_CALLS / max(draws, refines))
    draws, refines = max(1, round(fewer * draws)), max(1, round(fewer * refines))
    draw_seconds = loads.draw_rows * loads.student
    refine_seconds = loads.refine_rows * loads.teacher
    return Work(
        draws=draws,
        refines=refines,
        draw_seconds=draw_seconds,
        score_seconds=loads.draw_rows * loads.draws * loads.oracle,
        refine_seconds=refine_seconds,
        load_seconds=fewer * load,
    )


def _on_cpus(pools: PoolsSettings, cpus: float) -> PoolPlans:
    """Without GPUs the pools share the cores: single-threaded actors, about one a core.

    On two cores the default is 1, 1 and 2: an actor more than cores, since the student's core would
    idle once everything is drawn. Measured: 1.18 times the bound, with one teacher 1.68
    (docs/performance.md).
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
            # Ray accepts fractions of a core below one and whole cores above.
            cpus=_whole_above_one(settings.threads_per_actor * core_of_a_thread),
            threads=settings.threads_per_actor,
            node_label=settings.node_label,
            reason=f"set in the job file: {size}" if settings.size else f"{cores} cores, no GPU",
        )

    fixed = cores < MIN_CORES or all(own.size is not None for own in settings)
    plans = dict(zip(POOLS, map(plan, settings, sizes), strict=True))
    shared = Devices(cores, frozenset(POOLS), volume=float(cores), divisible=True)
    places = Capacity((shared,), {name: each.cpus for name, each in plans.items()}, "core")
    return PoolPlans(**plans, capacity=None if fixed else places, places=places)


def _whole_above_one(cpus: float) -> float:
    return float(floor(cpus)) if cpus > 1 else cpus
