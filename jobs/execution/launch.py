"""From a job and the resources that there are to its dispatcher, and from there to its end.

The command, the Python API, a plan on the virtual clock and the benchmarks all come here, so that
the same job on the same resources begins with the same pools. It is not in `cluster`, because
`jobs.planning` needs it, and `jobs` imports nothing of `cluster`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import inf
from time import sleep
from typing import TYPE_CHECKING

from actors.errors import ClusterError, InterruptedJobError, NoPlaceError, SpecError
from jobs.execution.attempt import DRAIN_SECONDS, Attempt
from jobs.execution.calibration import TableRow, line_of, score, table
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.executor import Executor
from jobs.execution.kept_sample import keep_sample
from jobs.execution.ladder_sample import search
from jobs.execution.observers import Observer
from jobs.execution.progress import Progress
from jobs.execution.resources import Resources
from jobs.execution.run import FIRST, MakeDispatcher, retry_job, run_job
from jobs.resolution import Job, resolve
from jobs.scaling.device import DeviceChoice, choose_device
from jobs.scaling.initial_sizes import PoolPlans, guess_loads, limits, plan_pools, sizes_on
from jobs.scaling.shares import RunningJob, is_shared, within
from jobs.scaling.warm_actors import sizes_with_warm
from jobs.spec.ladder import thresholds_of
from jobs.spec.ladder_search import (
    BestLadder,
    SampledAttempts,
    best_ladders,
    default_budgets,
    every_attempt,
    tried_for,
)
from jobs.spec.quantile import fraction_below, threshold_for
from jobs.spec.search import Unit, wrong_judge

if TYPE_CHECKING:
    from jobs.execution.neighbours import Neighbours

log = logging.getLogger("bottega.runner")


def pools_for(job: Job, have: Resources) -> PoolPlans:
    """The pools that the job begins with on these resources. Raises ClusterError."""
    _check_nodes(job, have)
    gpus = have.gpus
    if job.spec.max_gpus is not None and not have.labelled_gpus:
        gpus = min(gpus, job.spec.max_gpus)
    return plan_pools(job.spec.pools, have.cpus, gpus, have.labelled_gpus, guess_loads(job))


def _check_nodes(job: Job, have: Resources) -> None:
    """Refuse an actor of more GPUs than any node has: Ray would never place it."""
    pools = job.spec.pools
    if pools.grow or pools.device == "cpu" or not have.gpus:
        return  # a larger node may come, or the actors compute on cores
    for name, pool in pools.by_name.items():
        if (wanted := pool.gpus_per_actor or 0.0) > max(1.0, have.node_gpus):
            raise ClusterError(
                f"pools.{name}.gpus_per_actor: an actor of {wanted:g} GPUs has them on one node, "
                f"and the largest node has {have.node_gpus:g} of the cluster's {have.gpus:g}. Ask "
                "for fewer, or add a node with as many."
            )


JOIN_SECONDS = 0.5
"""Between two looks whether a node with GPUs has joined: a stop is seen as soon as in a job."""


def never() -> bool:
    """Nobody asks the job to stop."""
    return False


def make_dispatcher(
    job: Job,
    executor: Executor,
    plans: PoolPlans,
    have: Resources,
    should_stop: Callable[[], bool] = never,
    drain_seconds: float = DRAIN_SECONDS,
    share: int | None = None,
    warm: Mapping[str, int] = {},
) -> Dispatcher:
    """The dispatcher of these pools, whichever executor carries it out.

    share: the GPUs that are this job's, where other jobs run on the cluster. warm: by pool, the
    cluster's warm actors with this job's models.
    """
    sizes, now_had = plans.sizes, None
    if plans.capacity is not None and is_shared(plans.capacity):
        most = min(job.spec.max_gpus or inf, inf if share is None else share)
        if most < plans.capacity.count:
            now_had = within(plans.capacity, most)
            sizes = sizes_on(now_had, job.spec.pools, guess_loads(job))
            log.info("%d of %d GPUs are this job's", now_had.count, plans.capacity.count)
    if plans.capacity is not None and any(warm.values()):
        bounds = {name: limits(pool)[1] for name, pool in job.spec.pools.by_name.items()}
        sizes = sizes_with_warm(now_had or plans.capacity, sizes, warm, bounds)
    dispatcher = Dispatcher(
        job,
        executor,
        sizes,
        task_slots=have.file_slots,
        num_writers=have.num_writers if job.spec.is_written_from_any_node else 1,
        object_store_bytes=have.object_store_bytes,
        should_stop=should_stop,
        capacity=plans.capacity,
        places=plans.places,
        drain_seconds=drain_seconds,
    )
    dispatcher.pools.now_had, dispatcher.pools.is_dealt = now_had, now_had is not None
    return dispatcher


def dispatcher_on_ray(
    job: Job,
    have: Resources,
    should_stop: Callable[[], bool] = never,
    drain_seconds: float = DRAIN_SECONDS,
    neighbours: Neighbours | None = None,
    without: Sequence[str] = (),
) -> Dispatcher:
    """The job's dispatcher on the Ray that this process is connected to.

    neighbours: the way to the other jobs on the cluster, which the caller has joined. without:
    pools that get no actor.
    """
    from jobs.execution.ray_executor import RayExecutor
    from jobs.execution.warm_pools import WarmPools

    plans = pools_for(job, have)
    idle = {name: replace(getattr(plans, name), size=0, reason="unused") for name in without}
    plans = replace(plans, **idle)
    if job.spec.pools.keep_warm and have.alone:
        log.warning(
            "pools.keep_warm: this job's Ray ends with it, so that no actor can stay. It is for "
            "clusters: `bottega submit`, or --address."
        )
    warm = None if have.alone else WarmPools(job, plans)
    executor = RayExecutor(job, plans, neighbours, warm=warm)
    share = neighbours.share(have.gpus) if neighbours else None
    there = warm.matching() if warm else {}
    made = make_dispatcher(job, executor, plans, have, should_stop, drain_seconds, share, there)
    for name in without:
        made.pools.leave_out(name)
    return made


def neighbours_of(job: Job, have: Resources) -> Neighbours | None:
    """The way to the other jobs on the cluster; None where GPUs are not shared with any.

    An autoscaler's cluster grows for each of its jobs, and on cores Ray's queue does.
    """
    from jobs.execution.neighbours import Neighbours
    from jobs.execution.ray_drivers import number_of_this_driver

    plans = pools_for(job, have)
    devices = plans.capacity or plans.places
    if have.alone or devices is None or not is_shared(devices):
        return None
    bounds = {name: limits(pool) for name, pool in job.spec.pools.by_name.items()}
    wants = least = devices.needed_for(plans.sizes)
    if plans.capacity is not None:
        most = {name: most for name, (_, most) in bounds.items()}
        endless = max(most.values()) >= devices.count
        wants = devices.count if endless else min(devices.count, devices.needed_for(most))
        wants, least = min(wants, job.spec.max_gpus or wants), 1
    return Neighbours(
        RunningJob(
            name=job.spec.name,
            wants=wants,
            priority=job.spec.priority,
            least=least,
            ray_job=number_of_this_driver(),
        )
    )


def with_its_devices(job: Job, have: Resources, should_stop: Callable[[], bool]) -> Resources:
    """The resources, once they have the devices that the job is for: it may wait for GPUs.

    Raises ClusterError where no node with GPUs can join, NoPlaceError where none does in time.
    """
    pools, waited = job.spec.pools, 0.0
    while True:
        choice = choose_device(
            pools.device,
            weight_bytes=job.weight_bytes,
            gpus=have.gpus,
            grows=pools.grow,
            alone=have.alone,
        )
        if choice is DeviceChoice.REFUSE:
            raise ClusterError(
                f"{_models_of(job)} for GPUs, and this machine has none. To run them on its "
                "cores, which takes long, set `pools: {device: cpu}` in the job file; --address "
                "attaches to a cluster with GPUs."
            )
        if choice is not DeviceChoice.WAIT:
            return have
        if waited == 0.0:
            log.warning(
                "waiting for GPUs: the cluster has none now, and %s for GPUs "
                "(`pools: {device: cpu}` runs them on cores)", _models_of(job)
            )  # fmt: skip
        if should_stop():
            raise InterruptedJobError(
                "stopped while waiting for GPUs. Run the same command again to continue."
            )
        if waited >= job.spec.place_timeout_seconds:
            raise NoPlaceError(
                f"no node with a GPU joined the cluster for {waited:g} s (place_timeout_seconds). "
                "Run the same command again when there is one, or set `pools: {device: cpu}`."
            )
        sleep(JOIN_SECONDS)
        waited += JOIN_SECONDS
        have = Resources.of_ray()


def _models_of(job: Job) -> str:
    if job.spec.pools.device == "gpu":
        return "pools.device says that this job is"
    return f"the models of this job ({job.weight_bytes / 1e9:.1f} GB) are"


# ---- what the Python API calls

Session = AbstractContextManager[Resources]
"""Starts a Ray, or attaches to one, and stops or leaves it at the end: `cluster.session`."""


def run(
    job: Job,
    *,
    observers: Sequence[Observer] = (),
    session: Session | None = None,
    extend: bool = False,
    should_stop: Callable[[], bool] = never,
    drain_seconds: float = DRAIN_SECONDS,
    attempt: Attempt = FIRST,
) -> Progress:
    """Run a job to its end, or from where it stopped; returns how it ended.

    observers: called with each event of the job, in this thread. session: entered only if there is
    something to do, after every check; None for the Ray that this process is connected to.
    extend: the input may have grown at its end. should_stop: asked at least twice a second.
    drain_seconds: how long what is decided may be committed, after a stop. attempt: for the status
    beside the dataset. Raises a UserError before the first part starts, and a JobError when the job
    cannot end well.
    """
    with _on_ray(job, session, should_stop, drain_seconds) as (make, leave):
        return run_job(
            job, make, observers, extend, attempt, should_stop=should_stop, leave_ray=leave
        )


def retry(
    job: Job,
    *,
    observers: Sequence[Observer] = (),
    session: Session | None = None,
    should_stop: Callable[[], bool] = never,
    drain_seconds: float = DRAIN_SECONDS,
    attempt: Attempt = FIRST,
) -> Progress:
    """Draw the failed rows of a job's output again, into the same parts; returns how it ended.

    Every other row keeps its bytes. Arguments and errors are those of `run`.
    """
    with _on_ray(job, session, should_stop, drain_seconds) as (make, leave):
        return retry_job(job, make, observers, attempt, should_stop=should_stop, leave_ray=leave)


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """A sample of a job's rows, drawn and scored by the student and the oracle.

    `scores`: ascending; rows that failed are left out.
    """

    job: Job
    scores: tuple[float, ...]

    def threshold(self, refine: float) -> float:
        """The threshold that rejects the fraction `refine`, in 0..1, of the sample."""
        return threshold_for(self.scores, refine)

    def refines(self, threshold: float) -> TableRow:
        """The line of the table for a threshold of one's own."""
        return line_of(self.job, self.scores, fraction_below(self.scores, threshold), threshold)

    def thresholds(self) -> tuple[float, ...]:
        """Of each rung of the job's ladder after the first."""
        return thresholds_of(self.job.spec.attempts, self.scores)

    def table(self) -> list[TableRow]:
        """In tenths of rows refined: the threshold, and mean network evaluations a picture."""
        return table(self.job, self.scores)


def calibrate(
    job: Job,
    *,
    observers: Sequence[Observer] = (),
    session: Session | None = None,
    should_stop: Callable[[], bool] = never,
    keep: bool = False,
) -> ScoredSample:
    """Draw and score a sample of the job's rows; starts no teacher.

    keep: leave the scores in the output, where `run` finds them instead of measuring its own;
    else nothing is written. Other arguments and errors are those of `run`.
    """
    if keep:
        job.output.claim()
    sample = job.prompts.sample(job.sample_size)
    without = ("teacher",)
    with (
        _on_ray(job, session, should_stop, without=without) as (make, _),
        make(job) as dispatcher,
    ):
        dispatcher.observers.add(*observers)
        scores = tuple(score(job, dispatcher, sample))
    if keep:
        keep_sample(job, scores)
    return ScoredSample(job, scores)


@dataclass(frozen=True, slots=True)
class LadderSearch:
    """What a search for a ladder found on a sample of a job's rows.

    `job`: with the ladder of all attempts. `best`: a ladder for each budget, ascending, in `unit`;
    `rows`: those that chose them, and those that judged them. `judge`: the column of the extra
    score that chose them; None for the deciding score.
    """

    job: Job
    sample: SampledAttempts
    best: tuple[BestLadder, ...]
    unit: Unit = "nfe"
    judge: str | None = None

    @property
    def rows(self) -> tuple[int, int]:
        """Rows that chose the ladders, and rows that judged them."""
        return self.sample.chose_and_judged


def search_ladders(
    job: Job,
    *,
    budgets: Sequence[float] = (),
    unit: Unit = "nfe",
    judge: str | None = None,
    observers: Sequence[Observer] = (),
    session: Session | None = None,
    should_stop: Callable[[], bool] = never,
    keep: bool = False,
) -> LadderSearch:
    """Find the ladder with the best mean score within each budget, on a sample of the job's rows.

    Draws every sampled row several times, and has the teacher improve some of them in each of its
    ways. budgets: what a picture may cost on average, beside those of the table. unit: network
    evaluations, or actor-seconds as this cluster takes them. judge: the column of one of the
    oracle's `extra_scores`, by whose mean the ladders are chosen; by default the deciding score.
    keep: leave the scores of the first drawings in the output, for a run with a ladder. Other
    arguments and errors are those of `run`; raises SpecError for another judge, and JobError where
    too few rows could be drawn.
    """
    judges = [extra.column for extra in job.spec.models.oracle.extra_scores]
    if wrong := wrong_judge(judge, judges):
        raise SpecError(f"--judge: {wrong}.")
    tried = tried_for(job.spec)
    if job.spec.ladder != tried.ladder:
        job = resolve(every_attempt(job.spec))
    if keep:
        job.output.claim()
    without = () if tried.ways else ("teacher",)
    with (
        _on_ray(job, session, should_stop, without=without) as (make, _),
        make(job) as dispatcher,
    ):
        dispatcher.observers.add(*observers)
        found = search(job, dispatcher, tried, unit=unit, judge=judge)
    if keep:
        keep_sample(job, found.first_scores)
    best = best_ladders(found, [*default_budgets(found.costs[0]), *budgets])
    return LadderSearch(job, found, tuple(best), unit, judge)


@contextmanager
def _on_ray(
    job: Job,
    session: Session | None,
    should_stop: Callable[[], bool],
    drain_seconds: float = DRAIN_SECONDS,
    without: Sequence[str] = (),
) -> Iterator[tuple[MakeDispatcher, Callable[[], None]]]:
    """A function that makes a dispatcher of the job, or of the same one with another ladder; the
    session is entered with the first, and left at the end, or by the other function."""
    with ExitStack() as stack:
        there: list[tuple[Resources, Neighbours | None]] = []

        def enter() -> tuple[Resources, Neighbours | None]:
            have = stack.enter_context(session) if session else Resources.of_ray()
            have = with_its_devices(job, have, should_stop)
            if neighbours := neighbours_of(job, have):
                neighbours.join()
                stack.callback(neighbours.leave)
            return have, neighbours

        def make(job: Job) -> Dispatcher:
            if not there:
                there.append(enter())
            have, neighbours = there[0]
            return dispatcher_on_ray(job, have, should_stop, drain_seconds, neighbours, without)

        yield make, stack.close
