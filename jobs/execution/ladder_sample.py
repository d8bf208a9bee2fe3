"""Makes every attempt of a search for a ladder on a sample, and keeps their scores.

Two parts go through the pools, as in a calibration: every row is drawn again and again; then the
teacher has the rows that any ladder of the search could send to it, and each of its ways makes a
picture of every one of them, from the first drawing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import numpy as np

from actors.counted import counted
from actors.errors import JobError
from jobs.execution.active_part import ActivePart
from jobs.execution.calibration import LEAST_TIMED, MOST_ROUNDS, drive_part, timing
from jobs.execution.decision_log import DecisionLog
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.measurements import WarmCalls
from jobs.execution.stages import Stage, Step
from jobs.input.prompts import Part
from jobs.output.score_columns import score_columns
from jobs.resolution import Job
from jobs.searched import answered
from jobs.spec.ladder import describe
from jobs.spec.ladder_search import (
    LEAST_ROWS,
    Asked,
    Floats,
    SampledAttempts,
    Tried,
    best_ladders,
    candidates,
    highest_refined,
    tried_for,
)
from jobs.spec.search import Unit

log = logging.getLogger("bottega.calibrate")


def sample_attempts(
    job: Job,
    dispatcher: Dispatcher,
    sample: Part,
    tried: Tried,
    *,
    unit: Unit = "nfe",
    judge: str | None = None,
    decisions: DecisionLog | None = None,
) -> SampledAttempts:
    """The scores of every attempt at every row.

    job: with the ladder of all attempts, `tried.ladder`. unit: of the attempts' costs. judge: the
    column of the extra score that says how good a picture is; None for the deciding score. Raises
    JobError where a budget in seconds needs the time of calls and none could be timed.
    """
    again, ways = tried.drawings - 1, len(tried.ways)
    columns = [column.name for column in score_columns(job.spec.models.oracle)]
    by = None if judge is None else columns.index(judge)
    log.info("drawing %s %d times", counted(len(sample.prompts), "row"), tried.drawings)
    with timing(dispatcher) as warm:
        drawn = drive_part(job, dispatcher, sample, [*[inf] * again, *[-inf] * ways], decisions)
        scores = _scores(drawn)
        merits = scores.copy() if by is None else _extra_scores(drawn, by)
        first = scores[:, 0]
        there = [float(score) for score in first if np.isfinite(score)]
        if ways and there:
            with_teacher = first < highest_refined(there)
            others = frozenset(np.flatnonzero(~with_teacher).tolist())
            log.info("the teacher improves %s in %d ways", counted(with_teacher.sum(), "row"), ways)
            below = [*[-inf] * again, *[inf] * ways]
            refined = drive_part(job, dispatcher, sample, below, decisions, others)
            made = slice(tried.drawings, None)
            scores[:, made] = _scores(refined)[:, made]
            merits[:, made] = scores[:, made] if by is None else _extra_scores(refined, by)[:, made]
            for _ in range(MOST_ROUNDS if unit == "gpu_seconds" else 0):
                if all(warm.num_timed(step) >= LEAST_TIMED for step in _teachers_steps(tried)):
                    break
                drive_part(job, dispatcher, sample, below, decisions, others)
    costs = job.rung_nfe if unit == "nfe" else _seconds(job, warm, tried)
    return SampledAttempts(tried, costs, scores, merits)


def search(
    job: Job,
    dispatcher: Dispatcher,
    tried: Tried,
    *,
    unit: Unit = "nfe",
    judge: str | None = None,
    decisions: DecisionLog | None = None,
) -> SampledAttempts:
    """The attempts at the job's sample, of the rows by which a ladder can be chosen and judged.

    Arguments are those of `sample_attempts`. Raises JobError where those are too few.
    """
    sample = job.prompts.sample(job.sample_size)
    found = sample_attempts(
        job, dispatcher, sample, tried, unit=unit, judge=judge, decisions=decisions
    ).drawn
    if len(found.scores) < LEAST_ROWS:
        raise JobError(
            f"{len(found.scores)} rows of the sample were drawn and scored, too few to choose a "
            f"ladder by and to judge it by: at least {LEAST_ROWS}. Raise calibration_rows, or see "
            "the log for what failed."
        )
    return found


def _scores(part: ActivePart) -> Floats:
    """(rows, rungs), nan where there is none."""
    cascade = part.cascade
    rows = [cascade.scores_of(row) for row in range(cascade.num_rows)]
    return np.array(rows, dtype=np.float64)


def _extra_scores(part: ActivePart, which: int) -> Floats:
    """The same of an extra score."""
    rungs = range(len(part.cascade.rules.ladder))

    def extra_score(rung: int, row: int) -> float:
        found = part.extra_scores_of(rung, row)
        return nan if found is None else found[which]

    rows = [[extra_score(rung, row) for rung in rungs] for row in range(part.cascade.num_rows)]
    return np.array(rows, dtype=np.float64)


def _teachers_steps(tried: Tried) -> list[Step]:
    return [Step(Stage.REFINE, number) for number in range(len(tried.ways))]


def _seconds(job: Job, warm: WarmCalls, tried: Tried) -> tuple[float, ...]:
    """Actor-seconds of each attempt at a row, with the scoring of its picture."""
    timed = warm.row_seconds
    steps = [step for step in _teachers_steps(tried) if warm.num_timed(step)]
    for pool, known in (
        ("student", "draw" in timed),
        ("oracle", "score" in timed),
        ("teacher", bool(steps) or not tried.ways),
    ):
        if not known:
            raise JobError(
                f"budget.gpu_seconds: no call of the {pool} could be timed: none ended, or only an "
                f"actor's first, which is slower. The log says why. Mend the {pool}, raise "
                "calibration_rows, or give budget.nfe, which needs no seconds."
            )
    drawing = timed["draw"] + timed["score"]
    nfe = job.rung_nfe[tried.drawings :]
    found = [drawing] * tried.drawings
    for step in _teachers_steps(tried):
        # One that was not timed takes as long as another, by evaluations.
        like = step if step in steps else steps[0]
        share = nfe[step.attempt] / nfe[like.attempt]
        found.append(warm.seconds_of(like) * share + timed["score"])
    return tuple(found)


@dataclass(frozen=True, slots=True)
class FoundLadder:
    """`job`: with the ladder that was found. `scores`: of the sample's first drawings, ascending.
    `search`: for job.json."""

    job: Job
    scores: list[float]
    search: dict[str, Any]


def find_ladder(
    job: Job, asked: Asked, dispatcher: Dispatcher, decisions: DecisionLog | None = None
) -> FoundLadder:
    """Make a job's search. job: with every attempt. Raises JobError where nothing is found."""
    tried = tried_for(job.spec)
    start = dispatcher.executor.now()
    log.info("the search for the ladder within %s", asked)
    sample = search(job, dispatcher, tried, unit=asked.unit, judge=asked.judge, decisions=decisions)
    found = best_ladders(sample, [asked.budget])
    if not found:
        raise JobError(
            f"budget.{asked.unit}: a single drawing and its score take {sample.costs[0]:.3g} here, "
            f"and so no ladder costs {asked.budget:g} a picture. Raise it."
        )
    (best,) = found
    chose, judged = rows = sample.chose_and_judged
    log.info(
        "ladder: %s. It is the best by %d sampled rows within %s. On the %d others a picture costs "
        "%s, and the mean %s is %s, %s above the student's. The search took %.0f s",
        *(describe(best.ladder), chose, asked, judged),
        *(best.cost, asked.judge or "score", best.merit, f"{best.gain:+}"),
        dispatcher.executor.now() - start,
    )
    (attempts,) = (one.attempts for one in candidates(tried) if one.ladder == best.ladder)
    return FoundLadder(
        job.with_ladder(best.ladder, attempts),
        sample.first_scores,
        answered(asked, best, rows),
    )
