"""From a budget to a threshold, measured on the job's own prompts with the job's own student.

A sample (`jobs.spec.sample`) is drawn and scored by the same pools and the same cascade as the job;
its scores say which threshold rejects which fraction. Source: arXiv 2312.10835, section 3.2 (the
threshold is a percentile of the student's scores).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import inf, isinf
from typing import Any

from actors.counted import counted
from actors.errors import JobError
from jobs.execution.active_part import ActivePart, cascade_of
from jobs.execution.calls import Call, Done, Instruction, Release
from jobs.execution.cascade import Cascade
from jobs.execution.decision_log import DecisionLog
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.measurements import TIMED_STAGES, WarmCalls
from jobs.execution.observers import CallEnded
from jobs.execution.progress import PROGRESS_SECONDS, Progress
from jobs.execution.stages import FILE_POOL, STAGES
from jobs.input.prompts import Part
from jobs.resolution import Job
from jobs.spec.quantile import fraction_below, threshold_for
from jobs.spec.sample import refined_interval
from jobs.spec.threshold import certain, fraction_to_refine, thresholds

log = logging.getLogger("bottega.calibrate")


@dataclass(frozen=True, slots=True)
class Calibration:
    """The measured scores, and the thresholds that follow from them.

    `scores`: the sample's, ascending. `thresholds`: of each rung after the first; a budget has one.
    `refine`: the fraction of the scores below the highest of them, which is the budget's as nearly
    as the scores allow. `rows`: sampled rows that have a score.
    `seconds_per_row`: actor-seconds, the medians of warm actors' calls, only where the budget needs
    them. `wall_seconds`: the duration of the calibration, with the start of the actors.
    """

    scores: tuple[float, ...]
    refine: float
    thresholds: tuple[float, ...]
    rows: int
    seconds_per_row: dict[str, float]
    wall_seconds: float

    @property
    def threshold(self) -> float:
        """The highest: below it a row takes a further rung."""
        return max(self.thresholds, default=-inf)

    def as_json(self) -> dict[str, Any]:
        """For job.json. Thresholds are text, because JSON has no infinity."""
        fields = asdict(self)
        several = [str(one) for one in fields.pop("thresholds")]
        fields["threshold"] = str(self.threshold)
        return fields if len(several) == 1 else {**fields, "thresholds": several}


def nothing_to_calibrate(job: Job) -> dict[str, Any]:
    """The calibration of an input without rows."""
    return Calibration((), 0.0, (-inf,) * (len(job.spec.attempts) - 1), 0, {}, 0.0).as_json()


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of the table that `bottega calibrate` prints.

    `interval`: the fraction of all rows that the threshold refines lies in it, 95 times in 100.
    """

    refine: float
    threshold: float
    nfe: float
    interval: tuple[float, float]


def table(job: Job, scores: Sequence[float]) -> list[TableRow]:
    """Refine fraction -> threshold and mean network evaluations, in steps of a tenth."""
    tenths = [tenth / 10 for tenth in range(11)]
    return [line_of(job, scores, refine, threshold_for(scores, refine)) for refine in tenths]


def line_of(job: Job, scores: Sequence[float], refine: float, threshold: float) -> TableRow:
    """The line of a threshold that is to refine this fraction."""
    here = fraction_below(scores, threshold)
    interval = here, here
    if not isinf(threshold):
        interval = refined_interval(here, len(scores), job.prompts.num_rows)
    return TableRow(refine, threshold, job.student_nfe + refine * job.teacher_nfe, interval)


def calibrate(
    job: Job,
    dispatcher: Dispatcher,
    decisions: DecisionLog | None = None,
    *,
    known: Sequence[float] | None = None,
    known_from: str = "`bottega calibrate`",
) -> Calibration:
    """Turn the job's budget into a threshold; draws and scores a sample unless it is given.

    The dispatcher's observers see the progress. decisions: the log that follows the sample. known:
    the sample's scores, where they have been measured, and known_from by what; a budget in seconds
    needs more than them.
    """
    start = dispatcher.executor.now()
    if found := certain(job.spec):
        return Calibration((), found.refine, found.rungs, 0, {}, 0.0)
    timed = job.spec.ladder is None and job.spec.budget.gpu_seconds is not None
    if known and not timed:
        log.info("the scores of %s are those of %s", counted(len(known), "row"), known_from)
        return _calibration(job, known, {}, wall_seconds=0.0)
    sample = job.prompts.sample(job.sample_size)
    with timing(dispatcher) as warm:
        cascade = drive_part(job, dispatcher, sample, [-inf], decisions).cascade
        scores = _scores(cascade)
        seconds = _row_seconds(job, dispatcher, sample, cascade, warm, decisions) if timed else {}
    return _calibration(job, scores, seconds, dispatcher.executor.now() - start)


def _calibration(
    job: Job, scores: Sequence[float], seconds: dict[str, float], wall_seconds: float
) -> Calibration:
    """The thresholds of the job's budget or ladder, by these scores."""
    found = thresholds(
        job.spec,
        scores,
        student_nfe=job.student_nfe,
        teacher_nfe=job.teacher_nfe,
        seconds=seconds,
    )
    if job.spec.ladder is None:
        _check_nearness(refine_fraction(job, seconds), found.refine, len(scores))
    return Calibration(
        scores=tuple(scores),
        refine=found.refine,
        thresholds=found.rungs,
        rows=len(scores),
        seconds_per_row=seconds,
        wall_seconds=round(wall_seconds, 3),
    )


def _check_nearness(wanted: float, refine: float, scores: int) -> None:
    if abs(refine - wanted) > 0.51 / scores or (refine in (0, 1)) != (wanted in (0, 1)):
        log.warning(
            "the budget asks for %.2g %% refined, and the nearest threshold gives %.2g %%: %d "
            "scores, some of them equal. More calibration_rows may help.",
            100 * wanted, 100 * refine, scores,
        )  # fmt: skip


def score(
    job: Job, dispatcher: Dispatcher, sample: Part, decisions: DecisionLog | None = None
) -> list[float]:
    """The student's scores of a sample, ascending; rows that failed are left out. Raises JobError
    where all did."""
    return _scores(drive_part(job, dispatcher, sample, [-inf], decisions).cascade)


def _scores(cascade: Cascade) -> list[float]:
    found = sorted(row.student_score for row in cascade.rows if row.student_score is not None)
    if not found:
        why = Counter(cascade.errors.values()).most_common(1)
        raise JobError(
            "no row of the calibration sample could be drawn and scored"
            + (f" ({why[0][0].rstrip('.')})" if why else "")
            + ". Mend the input or the models, or give thresholds that need no sample: "
            "budget.threshold, or {score: ...} on each rung of a ladder."
        )
    return found


def refine_fraction(job: Job, seconds: dict[str, float]) -> float:
    """The fraction to refine that the job's budget pays for, in 0..1. Raises SpecError."""
    return fraction_to_refine(
        job.spec.budget,
        draws=job.spec.draws,
        student_nfe=job.student_nfe,
        teacher_nfe=job.teacher_nfe,
        seconds=seconds,
    )


TIMED_BATCHES = 2
"""Batches of the teacher in a round of timing: two actors are warm after the first round."""

LEAST_TIMED = 3
"""Calls that a median needs: of three, one that was held up does not count."""

MOST_ROUNDS = 6
"""Rounds of timing. One warms, two time; as many again, where calls fail or go to an actor that has
just loaded."""


@contextmanager
def timing(dispatcher: Dispatcher) -> Iterator[WarmCalls]:
    """The observer that times the calls of the block."""
    warm = WarmCalls(dispatcher.job)
    dispatcher.observers.add(warm, only=(CallEnded,))
    try:
        yield warm
    finally:
        dispatcher.observers.remove(warm)


def _row_seconds(
    job: Job,
    dispatcher: Dispatcher,
    sample: Part,
    cascade: Cascade,
    warm: WarmCalls,
    decisions: DecisionLog | None,
) -> dict[str, float]:
    """Actor-seconds of drawing a row, of scoring a picture, of refining a row, by warm actors.

    Refines some of the sample's rows that have a score, again and again until enough calls are
    timed. Raises JobError where none is.
    """
    scored = [place for place, row in enumerate(cascade.rows) if row.student_score is not None]
    refined = scored[: TIMED_BATCHES * job.spec.models.teacher.batch_size]
    others = frozenset(range(len(cascade.rows))) - frozenset(refined)
    for _ in range(MOST_ROUNDS):
        done = drive_part(job, dispatcher, sample, [inf], decisions, kept=others).cascade
        if warm.fewest[0] >= LEAST_TIMED or not done.num_refined + done.num_unrefinable:
            break  # enough, or a teacher that fails at every row, as it would again
    timed, work = warm.fewest
    if not timed:
        pool = STAGES[TIMED_STAGES[work][0]].pool
        raise JobError(
            f"budget.gpu_seconds: {job.spec.budget.gpu_seconds:g} pays for a fraction that follows "
            f"from the seconds of a row, and no call of the {pool} could be timed: none ended, or "
            "only an actor's first, which is slower. The log says why. "
            f"Mend the {pool}, or give budget.refine or budget.nfe, which need no seconds."
        )
    return warm.row_seconds


def drive_part(
    job: Job,
    dispatcher: Dispatcher,
    sample: Part,
    below: Sequence[float],
    decisions: DecisionLog | None = None,
    kept: frozenset[int] = frozenset(),
) -> ActivePart:
    """Run one part, without its rows that are `kept`, through the pools; keeps no picture.

    below: a threshold of each rung after the first; one is of all.
    """
    rules = job.rules(*below)
    owner = ActivePart(sample, cascade_of(sample, rules, kept))
    label = f"calibration at {rules.threshold}"
    if decisions:
        decisions.follow(owner, label)
    last_shown = -inf
    cascade = owner.cascade
    todo: list[Instruction] = owner.start()
    while not cascade.done:
        while todo:
            instruction = todo.pop()
            if isinstance(instruction, Release):
                dispatcher.release(owner, instruction)
            elif isinstance(instruction, Call):
                if STAGES[instruction.stage].pool == FILE_POOL:
                    todo += owner.handle(Done(instruction))
                else:
                    dispatcher.send(owner, instruction)
        if not cascade.done:
            if dispatcher.executor.now() - last_shown > PROGRESS_SECONDS:
                if dispatcher.observers.watching(Progress):
                    views, waiting = dispatcher.views(), dispatcher.waiting
                    shown = Progress.of_calibration(len(sample.prompts), views, waiting)
                    dispatcher.observers.notify(shown)
                last_shown = dispatcher.executor.now()
            for _, event in dispatcher.wait(timeout_seconds=0.5):
                todo += owner.handle(event)
    if decisions:
        decisions.close(label)
    for error, count in Counter(cascade.errors.values()).most_common():
        log.warning("calibration: %s of the sample failed: %s", counted(count, "row"), error)
    return owner
