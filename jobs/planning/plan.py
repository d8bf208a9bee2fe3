"""A plan: a job's time and GPU-hours, from the real scheduling code on a virtual clock.

The runner, the dispatcher, the pools and the cascades are those of a real run; only the executor is
simulated (`jobs.planning.planned_executor`): its calls take as long as the stage times say. Of a
large job some rows are simulated; the others keep the GPUs as busy as the middle of that run did.
For a large cluster a small one stands (`jobs.planning.scaled`), so that no plan takes minutes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil, prod
from statistics import fmean

from actors.errors import SpecError
from actors.settings import OracleSettings
from actors.timed import score_of, share_below
from jobs.execution.calibration import calibrate, refine_fraction
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.launch import make_dispatcher, pools_for
from jobs.execution.resources import Resources
from jobs.execution.runner import MOST_BUFFERED_ROWS, Runner
from jobs.input.prompts import Prompts
from jobs.input.row_options import check_options
from jobs.planning.planned_executor import PlannedExecutor
from jobs.planning.prices import MAX_GPUS
from jobs.planning.scaled import ENOUGH_GPUS, QUICK_GPUS, scaled
from jobs.planning.stage_times import StageTimes
from jobs.refinement import as_planned
from jobs.resolution import Job
from jobs.scaling.initial_sizes import PoolPlans, guess_loads
from jobs.scaling.rungs import UNKNOWN, RungLoads
from jobs.simulation.job import RowsOptions, SimulatedOutput, SimulatedPrompts
from jobs.spec.gpu_limits import check_gpus
from jobs.spec.job_spec import Budget, JobSpec
from jobs.spec.ladder import in_quantiles
from jobs.spec.part_size import check_part_size
from jobs.spec.quantile import threshold_for
from jobs.spec.sample import sample_size

WHOLE_ROWS = 200_000
"""A plan simulates every row up to this many. Measured: 200,000 rows in batches of 16 take 4 to 6 s
of a core.
"""

QUICK_ROWS = 20_000
"""The same for one plan of many: a line of a table, a step of a search. Measured: 20,480 of 200,000
rows on 8 GPUs take 0.6 s of a core, and their plan is 0.2 % over that of every row.
"""

ROUNDS = 24
"""But a plan simulates at least this many batches for each GPU: with few, beginning and end would
count as the middle. Chosen; with 6 to 48 the plan of 200,000 rows on 64 GPUs is 0.5 to 1.7 % over
that of every row.
"""

LOADS = 14.0
"""And at least so many load times of a teacher, as moves of the first minute would count as the
middle's. Measured on 80,000 rows of which 100 GPUs refine 5 %: without this rule a quick plan is
3.7 % off, with it 0.8 %.
"""

MOST_ROUNDS = 96
"""For LOADS. Chosen: a model that loads for minutes makes no plan take more than four times as
long."""

MOST_BATCHES = {False: 12_500, True: 1_250}
"""WHOLE_ROWS and QUICK_ROWS in batches of 16: a plan simulates no more, as it takes its time by
calls, and rows in batches of 1 have sixteen times as many."""

QUICK_WHOLE = 2
"""A quick plan simulates a whole job of up to so many times MOST_BATCHES: a small cluster rounds
the batches of a short job otherwise. Measured with 12,800 rows of SDXL on 256 GPUs, which are 6
batches for each: on 100 GPUs a plan was 3.2 % off, and the whole takes 1.5 s of a core."""

CLOSE = 0.005
"""Of the GPUs: a search for the fewest ends this near. Chosen: a quick plan is no more exact; up to
200 GPUs the search goes to the last one."""

MIN_DRAWS = 20
"""Runs with fewer calls that draw have no middle. Chosen: their first fifth is under four calls."""

CORES_PER_GPU = 8
"""Of the machines; half of them encode pictures at once. Chosen: the clouds' machines with
A100s have 12 or more for each GPU.
"""

STORE_BYTES_PER_GPU = 40e9
"""Of Ray's object store. It is 30 % of a machine's memory by default, so this is a machine with
133 GB for each GPU. Chosen: the clouds' machines with 80 GB A100s have 144 GB or more.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A job to plan, on these GPUs by type. `prompts`: None for rows without an input.

    `seeds`: of the rows, where they were chosen among more; None for all of them.
    """

    spec: JobSpec
    times: StageTimes
    gpus: Mapping[str, int]
    num_rows: int
    prompts: Prompts | None = None
    seeds: Sequence[int] | None = None
    options: RowsOptions = field(default_factory=dict)
    """By role, sizes and guidance scales of some parts' rows; none where all are alike."""
    row_pixels: float | None = None
    """Of a picture, on average, where rows have sizes of their own."""

    @property
    def usual_pixels(self) -> tuple[float, float]:
        """Of the pictures that the stage times are of: to make them, and to encode them."""
        sizes = self.spec.all_sizes
        if self.times.are_means and self.row_pixels:
            return self.row_pixels, self.row_pixels
        return prod(sizes[0]) if sizes else 1.0, self.spec.pixels

    @property
    def num_gpus(self) -> int:
        """GPUs of all types."""
        return sum(self.gpus.values())

    def on(self, gpus: Mapping[str, int]) -> Question:
        """The same job on other GPUs."""
        return replace(self, gpus=gpus)

    def at(self, refine: float) -> Question:
        """The same job with another budget."""
        spec = self.spec.model_copy(update={"budget": Budget(refine=refine)})
        return replace(self, spec=spec)


@dataclass(frozen=True, slots=True)
class Moment:
    """A change of the pools' sizes, `seconds` after the start."""

    seconds: float
    sizes: Mapping[str, int]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A job's plan. `ready_seconds`: until the first part begins, with the models loaded and the
    budget calibrated; `wall_seconds` includes them.

    `nfe`: mean network evaluations a picture. `at_work_hours`: GPU-hours in which a student or a
    teacher was at work. `busy_hours`: by pool, hours of its actors together. `simulated_rows`: the
    figures of the other rows are in proportion. `simulated_gpus`: fewer than there are, where they
    stand for all; the `timeline` has the sizes of all, and its reasons those of the few.
    """

    gpus: Mapping[str, int]
    num_rows: int
    simulated_rows: int
    simulated_gpus: int
    refined: float
    nfe: float
    ready_seconds: float
    wall_seconds: float
    at_work_hours: float
    busy_hours: Mapping[str, float]
    timeline: tuple[Moment, ...] = ()
    rungs: tuple[float, ...] = ()
    """Of a job with a ladder: by rung, the fraction of the rows that takes it."""

    @property
    def gpu_hours(self) -> dict[str, float]:
        """The hours to pay, by type of GPU: all of them for the whole wall time."""
        return {gpu: count * self.wall_seconds / 3600 for gpu, count in self.gpus.items()}

    @property
    def efficiency(self) -> float:
        """The fraction of the GPUs' time in which a student or a teacher was at work."""
        paid = sum(self.gpu_hours.values())
        return min(1.0, self.at_work_hours / paid) if paid else 0.0

    @property
    def alone_seconds(self) -> float:
        """The wall time, if students and teachers that share a GPU took turns."""
        gpus = sum(self.gpus.values())
        return max(self.wall_seconds, self.ready_seconds + 3600 * self.at_work_hours / gpus)


def ask(
    spec: JobSpec, times: StageTimes, gpus: Mapping[str, int], num_rows: int | None = None
) -> Question:
    """The question for a job's own input, or for `num_rows` rows. Raises a UserError."""
    check_gpus(spec)
    check_part_size(spec.part_rows, spec.batch_sizes)
    if spec.pools.device == "cpu":
        raise SpecError(
            "pools.device: cpu: a plan is for GPUs. Leave the field out to plan the job."
        )
    prompts = None if num_rows else Prompts(spec)
    rows = num_rows or (prompts.num_rows if prompts else 0)
    if not rows:
        raise SpecError(f"input {spec.input!r} has no rows: nothing to plan. Say how many: --rows.")
    # Stand-ins score by the rows' seeds, so the plan can be exact for these very rows.
    rows_themselves = prompts if spec.models.timed else None
    # Of the whole job, also where only some of its rows are simulated.
    size = sample_size(spec.calibration_rows, rows)
    spec = spec.model_copy(update={"calibration_rows": size})
    parts = prompts.options_of_parts() if prompts else []
    check_options(spec, parts)
    options = {role: [part[role] for part in parts] for role in ("student", "teacher") if parts}
    canvases = [one.canvas for part in options.get("teacher", ()) for one in part if one.canvas]
    return Question(
        spec=spec,
        times=times,
        gpus=gpus,
        num_rows=rows,
        prompts=rows_themselves,
        options=options,
        row_pixels=fmean(map(prod, canvases)) if canvases else None,
    )


def make_plan(question: Question, quick: bool = False) -> Plan:
    """Simulate the job. `quick`: only QUICK_ROWS of it or so. Raises a BottegaError."""
    question.times.check(question.gpus)
    small, factor = _small_enough(question, quick)
    # Where no small cluster stands for a large one, its actors take the time, and not its rows.
    alone = factor == 1 and question.num_gpus > 2 * ENOUGH_GPUS
    few = quick or (alone and question.num_rows > _plain_limit(question, quick))
    rows = min(small.num_rows, _row_limit(small, few))
    if rows < question.num_rows:
        run = _simulate(_some_rows(question, small, rows), factor)
    else:
        run = _simulate(question)
    return _as_plan(question, small, run, factor)


def whole_plan(question: Question) -> Plan:
    """Simulate every row on every GPU, however long that takes: to see how exact a plan is."""
    return _as_plan(question, question, _simulate(question), 1.0)


def teacher_only(question: Question) -> Plan:
    """The teacher alone draws the same rows on the same GPUs: one pool, no oracle."""
    spec, times = question.spec, question.times.teacher_alone
    batch, rows = spec.models.teacher.batch_size, question.num_rows
    batches = rows // spec.part_rows * ceil(spec.part_rows / batch)
    batches += ceil(rows % spec.part_rows / batch)
    factor = _times_as_long(question, batch)
    seconds = {gpu: factor * times.seconds(1, batch, 0, gpu) for gpu in question.gpus}
    each = sum(count / seconds[gpu] for gpu, count in question.gpus.items() if seconds[gpu])
    wall = times.loading + (batches / each if each else 0.0)
    if len(question.gpus) == 1:
        (gpu,) = question.gpus
        wall = times.loading + ceil(batches / question.gpus[gpu]) * seconds[gpu]
    teacher, busy = spec.models.teacher, question.num_gpus * (wall - times.loading)
    return Plan(
        gpus=question.gpus,
        num_rows=rows,
        simulated_rows=0,
        simulated_gpus=question.num_gpus,
        refined=1.0,
        nfe=teacher.steps * teacher.evaluations_per_step,
        ready_seconds=times.loading,
        wall_seconds=wall,
        at_work_hours=busy / 3600,
        busy_hours={"teacher": busy / 3600},
    )


def _times_as_long(question: Question, batch: int) -> float:
    """The time of all rows in batches of the teacher, in that of as many rows that are alike."""
    parts = question.options.get("teacher", ())
    if not parts:
        return 1.0
    usual, _ = question.usual_pixels
    taken = sum(
        ceil(rows / batch) * (prod(one.canvas) / usual if one.canvas else 1.0)
        for part in parts
        for one, rows in Counter(part).items()
    )
    return taken / sum(ceil(len(part) / batch) for part in parts)


def budget_table(
    question: Question, on_step: Callable[[str], None] = lambda step: None
) -> list[Plan]:
    """A plan for each budget: refine 0 to 1 in tenths. `on_step` is called before each."""
    plans = []
    for tenth in range(11):
        on_step(f"simulating other budgets: refine {tenth / 10:.0%}")
        plans.append(make_plan(question.at(tenth / 10), quick=True))
    return plans


def fewest_gpus(question: Question, deadline_seconds: float, most: int = MAX_GPUS) -> Plan:
    """The plan with the fewest GPUs, all of one type, that ends within the deadline.

    Raises SpecError where `most` of them do not make it.
    """
    (gpu,) = question.gpus
    plans: dict[int, Plan] = {}

    def ends_in_time(count: int) -> bool:
        plans[count] = make_plan(question.on({gpu: count}), quick=True)
        return plans[count].wall_seconds <= deadline_seconds

    # A good first guess: the GPUs that do the work if none is ever idle.
    work = 3600 * make_plan(question, quick=True).at_work_hours
    low, high = 1, min(most, max(1, ceil(work / deadline_seconds)))
    while not ends_in_time(high):
        if high == most:
            raise SpecError(
                f"--deadline: even {most:,} GPUs take {plans[high].wall_seconds:,.0f} s, of which "
                f"{plans[high].ready_seconds:,.0f} s pass before the first part begins. Allow more "
                "time, refine less, or say with --gpus how many there may be."
            )
        low, high = high + 1, min(most, max(high + 1, _guess(plans[high], deadline_seconds)))
    # Each plan guesses the next, and halving follows a guess that helped little.
    helped = True
    while high - low >= max(1, CLOSE * high):
        before = high - low
        middle = (low + high) // 2
        if helped:
            middle = max(low, min(high - 1, _guess(plans[high], deadline_seconds)))
        if ends_in_time(middle):
            high = middle
        else:
            low = middle + 1
        helped = high - low <= before / 2
    found = make_plan(question.on({gpu: high}))
    while found.wall_seconds > deadline_seconds and high < most:
        high = min(most, max(high + 1, _guess(found, deadline_seconds)))
        found = make_plan(question.on({gpu: high}))
    return found


def _guess(plan: Plan, deadline_seconds: float) -> int:
    """GPUs that would end at the deadline, if all of the time after the beginning were shared."""
    count = sum(plan.gpus.values())
    left = deadline_seconds - plan.ready_seconds
    return ceil(count * (plan.wall_seconds - plan.ready_seconds) / left) if left > 0 else 2 * count


# ---- one run on the virtual clock


@dataclass(frozen=True, slots=True)
class _Work:
    """Work up to a moment: `busy_seconds` of actors by pool, `at_work_seconds` of GPUs, and calls
    that draw."""

    busy_seconds: Mapping[str, float]
    at_work_seconds: float
    draws: int

    @classmethod
    def of(cls, executor: PlannedExecutor) -> _Work:
        """The work so far."""
        busy, at_work = dict(executor.busy_seconds), executor.at_work_seconds
        return cls(busy, at_work, len(executor.drawn_at))


@dataclass(slots=True)
class _Run:
    """The result of one simulated run.

    `ready_work`: the calibration's, which does not grow with the rows beyond those simulated.
    `busy_in_the_middle`: the fraction of the GPUs' time in which a student or a teacher was at work
    from the first fifth of the drawing to its end: after the loading, before the teachers' end.
    """

    num_rows: int
    refined_rows: int
    rungs: tuple[int, ...]
    ready_seconds: float
    ready_work: _Work
    wall_seconds: float
    work: _Work
    busy_in_the_middle: float
    timeline: tuple[Moment, ...]


def _simulate(question: Question, factor: float = 1.0) -> _Run:
    """`factor`: how many times as large the cluster is that this one stands for."""
    oracle = _scorer(question)
    if oracle is None:
        question = replace(question, spec=_in_fractions(question))
    num_gpus, output = question.num_gpus, SimulatedOutput()
    # Each GPU's machine writes parts: a plan does not know the driver's disk.
    spec = question.spec.model_copy(update={"output_shared": True})
    job = _job(replace(question, spec=spec), output)
    have = Resources(
        CORES_PER_GPU * num_gpus, num_gpus, STORE_BYTES_PER_GPU * num_gpus, num_writers=num_gpus
    )
    plans = pools_for(job, have)
    _check_room(plans, num_gpus)
    executor = PlannedExecutor(
        *(job, question.times, oracle, question.gpus, _shares(plans)),
        usual_pixels=question.usual_pixels,
    )
    with _quiet(), make_dispatcher(job, executor, plans, have) as dispatcher:
        thresholds = _thresholds(question, job, dispatcher, output, oracle)
        ready, ready_work = executor.now(), _Work.of(executor)
        runner = Runner(job, most_buffered_rows=MOST_BUFFERED_ROWS / factor)
        if runner.todo:
            runner.run(dispatcher, job.rules(*thresholds))
    return _Run(
        num_rows=question.num_rows,
        refined_rows=runner.progress().refined_rows,
        rungs=runner.progress().rungs,
        ready_seconds=ready,
        ready_work=ready_work,
        wall_seconds=executor.now(),
        work=_Work.of(executor),
        busy_in_the_middle=_busy_in_the_middle(executor, num_gpus, ready, ready_work),
        timeline=tuple(
            Moment(ready + entry["seconds"], entry["sizes"], entry["reason"])
            for entry in output.timeline
        ),
    )


def _busy_in_the_middle(
    executor: PlannedExecutor, num_gpus: int, ready: float, ready_work: _Work
) -> float:
    draws = executor.drawn_at[ready_work.draws :]
    first, last = (ready, ready_work.at_work_seconds), (executor.now(), executor.at_work_seconds)
    if len(draws) >= MIN_DRAWS:
        first, last = draws[len(draws) // 5], draws[-1]
    since, work = first
    seconds = num_gpus * (last[0] - since)
    return (last[1] - work) / seconds if seconds > 0 else 1.0


def _check_room(plans: PoolPlans, num_gpus: int) -> None:
    """Refuse fixed sizes whose actors would never all get a GPU. Raises SpecError."""
    shares = _shares(plans)
    needed = sum(size * shares[name] for name, size in plans.sizes.items())
    if needed > num_gpus + 1e-9:
        each = ", ".join(f"{size} {name} of {shares[name]:g}" for name, size in plans.sizes.items())
        raise SpecError(
            f"pools: these actors need {needed:g} GPUs ({each}), and there are {num_gpus}. Say "
            "with --gpus how many there are, or lower pools.*.size or gpus_per_actor."
        )


def _shares(plans: PoolPlans) -> dict[str, float]:
    return {name: getattr(plans, name).gpus for name in plans.sizes}


def _job(question: Question, output: SimulatedOutput) -> Job:
    spec = question.spec
    prompts = question.prompts or SimulatedPrompts(
        spec, question.num_rows, frozenset(), question.seeds, options=question.options
    )
    return Job(spec, prompts, output, as_planned(spec), {})


def _scorer(question: Question) -> OracleSettings | None:
    """The stand-in oracle that scores each row; None where only the rejected fraction is known."""
    oracle = question.spec.models.oracle
    by_rows = question.prompts or question.seeds or _varies_over_rows(oracle)
    return oracle if oracle.timed and by_rows else None


def _in_fractions(question: Question) -> JobSpec:
    """The job with the fraction that it refines as its budget: a threshold says none."""
    spec, oracle = question.spec, question.spec.models.oracle.timed
    if spec.ladder is not None:
        return spec.model_copy(update={"ladder": in_quantiles(spec.ladder, UNKNOWN)})
    if spec.budget.threshold is None:
        return spec
    if oracle and not isinstance(oracle.rejected, tuple):
        refine = share_below(spec.budget.threshold, oracle.rejected)
    elif question.times.refined is not None:
        refine = question.times.refined
    else:
        raise SpecError(
            "budget.threshold: how many rows it refines is known once the job has drawn some. Say "
            "what you expect, as --refine 0.3."
        )
    return spec.model_copy(update={"budget": Budget(refine=refine)})


def _varies_over_rows(oracle: OracleSettings) -> bool:
    return oracle.timed is not None and isinstance(oracle.timed.rejected, tuple)


def _thresholds(
    question: Question,
    job: Job,
    dispatcher: Dispatcher,
    output: SimulatedOutput,
    oracle: OracleSettings | None,
) -> tuple[float, ...]:
    """Simulate the calibration, which takes time, and return the thresholds.

    The calibration's own threshold where its sample is that of the real run. Else the threshold
    that rejects exactly the budget's fraction: a sample of other rows knows no better.
    """
    found = calibrate(job, dispatcher)
    output.job = {"calibration": found.as_json()}
    given = job.spec.ladder is not None or job.spec.budget.threshold is not None
    if question.prompts is not None or given:
        return found.thresholds
    wanted = refine_fraction(job, found.seconds_per_row)
    if oracle is None:
        return (wanted,)
    seeds = question.seeds or range(question.num_rows)
    scores = sorted(score_of(oracle, seed, refined=False) for seed in seeds)
    return (threshold_for(scores, wanted),)


def _rounds(question: Question) -> int:
    """The rows that give each GPU ROUNDS batches, or more where those are over soon."""
    models, times = question.spec.models, question.times
    rejected = guess_loads(_job(question, SimulatedOutput())).rejected
    drawing = times.student.seconds(1, models.student.batch_size, 0) * question.spec.draws
    refining = times.teacher.seconds(1, models.teacher.batch_size, 0)
    row_seconds = drawing / models.student.batch_size
    row_seconds += rejected * refining / models.teacher.batch_size
    batch = max(models.student.batch_size, models.teacher.batch_size)
    rounds = LOADS * times.teacher.loading / (row_seconds * batch) if row_seconds else 0.0
    rounds = max(ROUNDS, min(MOST_ROUNDS, rounds if rejected else 0.0))
    return ceil(rounds * batch * question.num_gpus)


def _plain_limit(question: Question, quick: bool) -> int:
    """The most rows to simulate on a small cluster: of a short job all."""
    models = question.spec.models
    batches = MOST_BATCHES[quick] * min(models.student.batch_size, models.teacher.batch_size)
    limit = min(QUICK_ROWS if quick else WHOLE_ROWS, batches)
    whole = QUICK_WHOLE * limit if quick else limit
    return question.num_rows if question.num_rows <= whole else limit


def _small_enough(question: Question, quick: bool) -> tuple[Question, float]:
    """The job on a cluster that is small enough to simulate, and by which factor it is smaller."""
    rounds = _rounds(question)
    if min(question.num_rows, rounds) <= _plain_limit(question, quick):
        return question, 1.0
    enough, few_rounds = QUICK_GPUS if quick else ENOUGH_GPUS, question.num_rows <= 2 * rounds
    small = scaled(question.spec, question.gpus, question.num_rows, enough, few_rounds=few_rounds)
    if small is None:
        return question, 1.0
    found = replace(question, spec=small.spec, gpus=small.gpus, num_rows=small.num_rows)
    return found, small.factor


def _row_limit(question: Question, quick: bool) -> int:
    """The most rows to simulate: whole parts."""
    spec = question.spec
    limit = _plain_limit(question, quick)
    if question.num_gpus <= 2 * ENOUGH_GPUS:
        limit = max(limit, _rounds(question))
    size = min(spec.part_rows, limit)
    limit = max(limit, 2 * sample_size(spec.calibration_rows, question.num_rows))
    return ceil(limit / size) * size


def _some_rows(question: Question, small: Question, rows: int) -> Question:
    """The small job with so many rows, spread over all where these are not alike."""
    models = question.spec.models
    seeds: Sequence[int] | None = None
    if _varies_over_rows(models.oracle):
        num_rows = question.num_rows
        seeds = [num_rows * place // rows for place in range(rows)]
        if question.prompts is not None:
            seeds = question.prompts.sample(rows).seeds
    return replace(small, num_rows=rows, prompts=None, seeds=seeds)


def _as_plan(question: Question, small: Question, run: _Run, factor: float) -> Plan:
    """The run as a plan. The rows beyond it keep the GPUs as busy as its middle did."""
    beyond = small.num_rows - run.num_rows
    before, after, scale = run.ready_work, run.work, question.num_rows / run.num_rows
    of_the_rows = after.at_work_seconds - before.at_work_seconds
    further_gpu_seconds = of_the_rows * beyond / run.num_rows
    further_seconds = 0.0
    if further_gpu_seconds:
        further_seconds = further_gpu_seconds / (small.num_gpus * run.busy_in_the_middle)
    job = _job(question, SimulatedOutput())
    refined = run.refined_rows / run.num_rows
    nfe = job.student_nfe + refined * job.teacher_nfe
    rungs = tuple(rows / run.num_rows for rows in run.rungs)
    if rungs:
        loads = RungLoads(rungs, tuple(rung.by_teacher for rung in job.rungs))
        refined = loads.to_teacher
        nfe = sum(taken * each for taken, each in zip(rungs, job.rung_nfe, strict=True))
    timeline = run.timeline
    if factor > 1:
        timeline = tuple(_of_all(moment, small.num_gpus, factor) for moment in timeline)
    return Plan(
        gpus=question.gpus,
        num_rows=question.num_rows,
        simulated_rows=run.num_rows,
        simulated_gpus=small.num_gpus,
        refined=refined,
        nfe=nfe,
        rungs=rungs,
        ready_seconds=run.ready_seconds,
        wall_seconds=run.wall_seconds + further_seconds,
        at_work_hours=(factor * before.at_work_seconds + scale * of_the_rows) / 3600,
        busy_hours={
            pool: (factor * calibrating + scale * (after.busy_seconds[pool] - calibrating)) / 3600
            for pool, calibrating in before.busy_seconds.items()
        },
        timeline=timeline,
    )


def _of_all(moment: Moment, few_gpus: int, factor: float) -> Moment:
    """A change of the small cluster's sizes, as one of the cluster for which it stands."""
    sizes = {pool: round(size * factor) for pool, size in moment.sizes.items()}
    return Moment(moment.seconds, sizes, f"on {few_gpus} GPUs: {moment.reason}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log: the parts of a simulated run are no news."""
    logger = logging.getLogger("bottega")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
