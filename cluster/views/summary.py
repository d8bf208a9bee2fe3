"""What a run is about to do, and how it ended, in a few lines each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import actors.models
from actors.counted import counted
from actors.settings import DiffusionSettings
from cluster.views.progress import duration
from jobs import Job, Progress
from jobs.spec.ladder import by_attempt, describe, describe_attempt


def summary(job: Job) -> Iterator[str]:
    """The lines."""
    spec, models = job.spec, job.spec.models
    nfe = f"{job.student_nfe} evaluations"
    oracle = models.oracle
    judge = "stand-in" if oracle.timed else oracle.kind
    yield f"input: {counted(job.prompts.num_rows, 'prompt')}"
    yield (
        f"models: student {_name(models.student)} ({nfe}), oracle {judge}, "
        f"teacher {_name(models.teacher)}"
    )
    if oracle.extras:
        extras = (f"{extra.column} by {extra.kind}" for extra in oracle.extras)
        yield f"scores that decide nothing: {', '.join(extras)}"
    if job.asked:
        ways = "; ".join(map(describe_attempt, spec.ladder or ()))
        yield f"ladder: the calibration finds the best within {job.asked}. It tries to {ways}"
        return
    if spec.ladder is not None:
        yield f"ladder: {describe(spec.ladder)}"
        return
    how = job.refinement
    way = f"refines from strength {how.strength:.3g}" if how.strategy == "refine" else "draws anew"
    budget = ", ".join(
        f"{name} {value:g}" for name, value in spec.budget.model_dump(exclude_none=True).items()
    )
    kept = "the teacher's picture" if spec.keep == "teacher" else "the better picture"
    yield (
        f"budget: {budget}; the teacher {way} in {how.steps} steps ({job.teacher_nfe} "
        f"evaluations), and the row keeps {kept}"
    )


def closing_lines(end: Progress, output: str) -> Iterator[str]:
    """How a run ended, and what comes next."""
    new = end.done_rows - end.resumed_rows
    failed = f"{end.failed_rows:,} failed" + (" (column `error` says why)" * bool(end.failed_rows))
    how = f"{end.refined_rows:,} of them refined by the teacher"
    if end.rungs:
        how = f"with {by_attempt(end.rungs)} of all rows"
    yield (
        f"done: {counted(end.done_rows, 'row')} in {output} "
        f"({new:,} in this run, {how}; {failed}), {duration(end.elapsed_seconds)}"
    )
    place = quote(output)
    if end.failed_rows:
        yield f"next: `bottega retry {place}` draws the failed rows again"
    else:
        yield f"next: `bottega sheet {place}` shows some of it, `bottega verify {place}` checks it"


def _name(settings: DiffusionSettings) -> str:
    if settings.timed:
        return "stand-in"
    path = Path(settings.path)
    # The embedded models are wherever the package is.
    embedded = Path(actors.models.__path__[0])
    return str(path.relative_to(embedded)) if path.is_relative_to(embedded) else settings.path
