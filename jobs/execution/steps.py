"""The steps that follow a job's last record: what its job file says under `after`.

The dataset is complete by then, and a step changes none of it. A job is done when its steps are
taken: one that fails or is killed is taken again by the same command, which makes no row anew.
Retention comes last, and is no step: what stays too long harms nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice

from actors.counted import counted
from actors.errors import InterruptedJobError, OutputFailedError, StorageError
from jobs.execution.status_reporter import StatusReporter
from jobs.output.dated_outputs import retire
from jobs.output.export.publish import prepare
from jobs.output.verify import verify
from jobs.resolution import Job
from jobs.spec.after import Publish

log = logging.getLogger("bottega.job")

MOST_PROBLEMS = 3
"""Of a dataset, in the error of a job; `bottega verify` has the others."""

GOES_ON = "The dataset is complete; the same command goes on from here."


def take_steps(job: Job, status: StatusReporter, should_stop: Callable[[], bool]) -> None:
    """Verify and publish a complete dataset, and retire old ones, as far as the job file says so.

    Raises OutputFailedError for a dataset that is not well, or a place that fails; OutputError for
    a place that is not ours; InterruptedJobError after a stop.
    """
    after, left = job.spec.after, list(job.spec.after.steps)

    def note(doing: str) -> None:
        if should_stop():
            raise InterruptedJobError(f"stopped before it was done: {left[0]}. {GOES_ON}")
        log.info("%s", doing)
        status.note_step(doing, left)

    if after.verify:
        note("verifying every byte")
        _verify(job)
        left.pop(0)
    if after.publish and job.prompts.num_rows:
        _publish(job, after.publish, note)
    left.clear()
    if after.steps:
        status.note_step("", left)
    if after.retention:
        try:
            for verdict in retire(job.spec, delete=after.retention.delete, current=job.output.url):
                if verdict.goes or verdict.output.kept_because:
                    log.info("retention: %s", verdict)
        except StorageError as error:
            log.warning("retention: old outputs stay for now: %s", error)


def _verify(job: Job) -> None:
    problems = [str(one) for one in islice(verify(job.output), MOST_PROBLEMS)]
    if problems:
        raise OutputFailedError(
            f"{job.output.url!r} is not well, and nothing follows it:\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + f"\n`bottega verify {job.output.url}` shows all of it."
        )


def _publish(job: Job, publish: Publish, note: Callable[[str], None]) -> None:
    try:
        publication = prepare(job.output, publish.licence)
        for warning in publication.warnings:
            log.warning("publish: %s", warning)
        sent = publication.send_to(
            publish.to, publish.public, lambda step: note(f"publishing to {publish.to}: {step}")
        )
    except StorageError as error:
        raise OutputFailedError(f"not published: {error} {GOES_ON}") from error
    there = len(publication.parts) - sent
    log.info("published to %s: %s sent, %d there already", publish.to, counted(sent, "part"), there)
