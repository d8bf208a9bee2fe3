"""A job from its beginning to its end: parts on disk, the threshold, parts to do, the pages.

`run_job` is the whole of it; `retry_job` does the same for the failed rows of finished parts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from jobs.execution.calibration import NOTHING_TO_CALIBRATE, calibrate
from jobs.execution.decision_log import DecisionLog
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.observers import LOGGED, Observer, log_event
from jobs.execution.progress import Progress
from jobs.execution.runner import Runner
from jobs.identity import claim, continues, is_outdated, write_job
from jobs.output.heartbeat import heartbeat
from jobs.output.pages.dataset_card import card
from jobs.output.pages.report import report
from jobs.output.records import describe_calibration
from jobs.resolution import Job

log = logging.getLogger("bottega.runner")

MakeDispatcher = Callable[[], Dispatcher]


def run_job(
    job: Job,
    make_dispatcher: MakeDispatcher,
    observers: Sequence[Observer] = (),
    extend: bool = False,
) -> Progress:
    """Run a job to its end, or from where it stopped; returns how it ended.

    make_dispatcher: called only if there is something left to do. observers: beside the log and
    the timeline. extend: the input may have grown. Raises OutputError for a folder that holds
    another job, JobError when the job cannot end well.
    """
    claim(job)
    before = continues(job, extend)
    if before is None or extend:
        job.prompts.check_ids()
    decisions = DecisionLog()
    with _driving(job), decisions.written_on_error(job.output.path):
        if job.prompts.num_rows == 0 and before is None:
            write_job(job, NOTHING_TO_CALIBRATE)
        # An input without rows had nothing to calibrate on.
        known = before if before and before["rows"] else None
        runner = Runner(job, decisions=decisions)
        if runner.todo:
            job.output.unfinish()
        if known and is_outdated(known, job):
            if known["rows"] != job.prompts.num_rows:
                log.info("the input grew from %d to %d rows", known["rows"], job.prompts.num_rows)
            write_job(job, known["calibration"], replace=True)
        if runner.todo:
            with _observed(job, make_dispatcher(), observers, decisions) as dispatcher:
                if known is None:
                    calibration = calibrate(job, dispatcher, decisions).as_json()
                    write_job(job, calibration, replace=before is not None)
                    log.info("threshold: %s", describe_calibration(calibration))
                runner.run(dispatcher, job.rules(_threshold(job)))
        else:
            log.info("nothing to do: all %d parts are there", job.prompts.num_parts)
        runner.check_failures()
        _finish(job)
    return runner.progress()


def retry_job(
    job: Job, make_dispatcher: MakeDispatcher, observers: Sequence[Observer] = ()
) -> Progress:
    """Draw the failed rows of finished parts again, into the same parts; returns how it ended.

    Every other row keeps its bytes. Raises as `run_job` does.
    """
    continues(job)
    decisions = DecisionLog()
    with _driving(job), decisions.written_on_error(job.output.path):
        runner = Runner(job, retry=True, decisions=decisions)
        if runner.todo:
            job.output.unfinish()
            with _observed(job, make_dispatcher(), observers, decisions) as dispatcher:
                runner.run(dispatcher, job.rules(_threshold(job)))
        progress = runner.progress()
        if progress.parts_done == progress.num_parts:
            _finish(job)
    return progress


def _observed(
    job: Job, dispatcher: Dispatcher, observers: Sequence[Observer], decisions: DecisionLog
) -> Dispatcher:
    """The dispatcher with all that watch it."""
    decisions.now = dispatcher.executor.now
    dispatcher.observers.add(log_event, only=LOGGED)
    dispatcher.observers.add(decisions, *observers)
    return dispatcher


def _finish(job: Job) -> None:
    job.output.finish({"README.md": card(job.output), "report.html": report(job.output)})


@contextmanager
def _driving(job: Job) -> Iterator[None]:
    """Warn of other drivers, and sweep the temporary files of dead ones."""
    with heartbeat(job.output.path) as beating:
        for other in beating.others:
            log.warning(
                "another run writes to %s too (%s). Both may go on, and the dataset will be right, "
                "but the work is done twice: stop one of them.", job.output.path, other,
            )  # fmt: skip
        job.output.sweep(beating.now)
        yield


def _threshold(job: Job) -> float:
    """The threshold that is written down: another driver may have been the first to calibrate."""
    job.output.check_there()
    continues(job)
    return float(job.output.require_job()["threshold"])
