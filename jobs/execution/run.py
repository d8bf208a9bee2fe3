"""A job from its beginning to its end: parts on disk, the threshold, parts to do, the pages.

`run_job` is the whole of it; `retry_job` does the same for the failed rows of finished parts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from actors.counted import counted
from actors.errors import OutputFailedError
from jobs.execution.attempt import Attempt
from jobs.execution.calibration import calibrate, nothing_to_calibrate
from jobs.execution.decision_log import EVENT_KINDS, DecisionLog
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.kept_sample import kept_sample
from jobs.execution.ladder_sample import FoundLadder, find_ladder
from jobs.execution.observers import Observer, PartCommitted
from jobs.execution.progress import Progress
from jobs.execution.record_packer import RecordPacker
from jobs.execution.runner import Runner, finished_parts
from jobs.execution.status_reporter import STATUS_KINDS, StatusReporter, reporting
from jobs.execution.steps import take_steps
from jobs.identity import claim, continues, is_outdated, write_job
from jobs.output.heartbeat import heartbeat
from jobs.output.job_file import thresholds_in
from jobs.output.pages.dataset_card import card
from jobs.output.pages.report import report
from jobs.output.patience import patience_in_all
from jobs.output.records import describe_calibration
from jobs.output.status import Work
from jobs.resolution import Job
from jobs.searched import unanswered
from jobs.storage.patience import patiently

log = logging.getLogger("bottega.runner")

MakeDispatcher = Callable[[Job], Dispatcher]

Records = dict[int, dict[str, Any]]
"""The records of the parts that are there, by part number."""

FIRST = Attempt()
"""Of a job that nobody submitted."""

MOST_ROUNDS = 2
"""Times that parts which disappeared are made again. Chosen: a slip, such as a `data/` that was
cleared, needs one; whatever removes files all the time needs a person."""


def run_job(
    job: Job,
    make_dispatcher: MakeDispatcher,
    observers: Sequence[Observer] = (),
    extend: bool = False,
    attempt: Attempt = FIRST,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    leave_ray: Callable[[], None] = lambda: None,
) -> Progress:
    """Run a job to its end, or from where it stopped; returns how it ended.

    make_dispatcher: of this job; called only if there is something left to do, and with another
    ladder after the search for one. observers: beside the log and
    the timeline. extend: the input may have grown. attempt: who runs it, for the status.
    should_stop: asked between the steps that follow the last record. leave_ray: called before
    them, which need no GPU. Raises
    OutputError for a folder that holds another job, JobError when the job cannot end well.
    """
    claim(job)
    before = continues(job, extend)
    if before is None or extend:
        job.prompts.check_ids()
    decisions = DecisionLog()
    with _driving(job, "run", attempt) as status, decisions.written_on_error(job.output):
        if job.prompts.num_rows == 0 and before is None:
            search = unanswered(job.asked) if job.asked else None
            write_job(job, nothing_to_calibrate(job), search=search)
        # An input without rows had nothing to calibrate on.
        known = before if before and before["rows"] else None
        found: FoundLadder | None = None
        if job.asked and job.prompts.num_rows:
            with _observed(status, make_dispatcher(job), observers, decisions) as dispatcher:
                found = find_ladder(job, job.asked, dispatcher, decisions)
            job = found.job
        runner = Runner(job, decisions=decisions)
        packer = RecordPacker(job.output, runner.there)
        if runner.todo:
            job.output.unfinish()
            log_other_syntax(job)
        if known and is_outdated(known, job):
            if known["rows"] != job.prompts.num_rows:
                log.info("the input grew from %d to %d rows", known["rows"], job.prompts.num_rows)
            write_job(job, known["calibration"], replace=True, known=known)
        if runner.todo:
            with _observed(
                status, make_dispatcher(job), observers, decisions, packer
            ) as dispatcher:
                if known is None:
                    calibration = calibrate(
                        job,
                        dispatcher,
                        decisions,
                        known=found.scores if found else kept_sample(job),
                        known_from="the search" if found else "`bottega calibrate`",
                    ).as_json()
                    search = found.search if found else None
                    replaces = before is not None
                    patiently(
                        partial(write_job, job, calibration, replace=replaces, search=search),
                        patience_in_all(job.spec.stall_timeout_seconds),
                    )
                    log.info(
                        "threshold: %s", describe_calibration(calibration, job.prompts.num_rows)
                    )
                progress, there = _run_until_whole(job, runner, dispatcher, decisions)
        else:
            log.info("nothing to do: %s, all there", counted(job.prompts.num_parts, "part"))
            progress, there = runner.progress(), _parts_there(job)
        status(progress)
        runner.check_failures()
        _finish(job, there)
        leave_ray()
        take_steps(job, status, should_stop)
    return progress


def log_other_syntax(job: Job) -> None:
    """Warn of prompts that were written for another tool: they are drawn as they stand."""
    rows, found, kinds = job.prompts.other_syntax()
    if found:
        shown = ", ".join(f"{name} in {count:,}" for name, count in kinds.most_common())
        first = "" if rows == job.prompts.num_rows else "first "
        log.warning(
            "in %s of the %s%s there is syntax of other tools, which is drawn as it stands: %s. If "
            "it is not meant, take it out of the prompts.",
            f"{found:,}", first, counted(rows, "prompt"), shown,
        )  # fmt: skip


def retry_job(
    job: Job,
    make_dispatcher: MakeDispatcher,
    observers: Sequence[Observer] = (),
    attempt: Attempt = FIRST,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    leave_ray: Callable[[], None] = lambda: None,
) -> Progress:
    """Draw the failed rows of finished parts again, into the same parts; returns how it ended.

    Every other row keeps its bytes. Raises as `run_job` does.
    """
    continues(job)
    decisions = DecisionLog()
    with _driving(job, "retry", attempt) as status, decisions.written_on_error(job.output):
        runner = Runner(job, retry=True, decisions=decisions)
        packer = RecordPacker(job.output, runner.there)
        if runner.todo:
            job.output.unfinish()
            with _observed(
                status, make_dispatcher(job), observers, decisions, packer
            ) as dispatcher:
                runner.run(dispatcher, job.rules(*_thresholds(job)))
        there = _parts_there(job)
        gone = runner.there - there.keys()
        if gone:
            raise OutputFailedError(
                f"{_these(gone)} of {job.output.url!r} disappeared while failed rows were "
                "drawn again. Find what removes them; `bottega run` makes them again."
            )
        progress = runner.progress()
        status(progress)
        if progress.parts_done == progress.num_parts:
            _finish(job, there)
            leave_ray()
            take_steps(job, status, should_stop)
        else:
            job.output.unfinish()
    return progress


def _run_until_whole(
    job: Job, runner: Runner, dispatcher: Dispatcher, decisions: DecisionLog
) -> tuple[Progress, Records]:
    """Drive the runner's parts, and those that are gone by then: files can be removed meanwhile.

    Returns how it ended, and the records that are there.
    """
    rules = job.rules(*_thresholds(job))
    runner.run(dispatcher, rules)
    progress, there = runner.progress(), _parts_there(job)
    for _ in range(MOST_ROUNDS):
        if len(there) == job.prompts.num_parts:
            break
        again = Runner(job, decisions=decisions)
        if again.todo:  # another driver may have been quicker
            log.warning("%s disappeared and is made again", _these(again.todo))
            again.run(dispatcher, rules)
            progress = replace(again.progress(), resumed_rows=progress.resumed_rows)
        there = _parts_there(job)
    return progress, there


def _parts_there(job: Job) -> Records:
    """The records that are there; an output that is away for a while is waited for."""
    patience = patience_in_all(job.spec.stall_timeout_seconds)
    return patiently(partial(finished_parts, job), patience)


def _these(parts: Collection[int]) -> str:
    """Parts in a few words."""
    first = f"part {min(parts)}"
    return first if len(parts) == 1 else f"{first} and {len(parts) - 1:,} more"


def _observed(
    status: StatusReporter,
    dispatcher: Dispatcher,
    observers: Sequence[Observer],
    decisions: DecisionLog,
    packer: RecordPacker | None = None,
) -> Dispatcher:
    """The dispatcher, watched by the status, the decision log and the caller's observers."""
    decisions.now = dispatcher.executor.now
    dispatcher.observers.add(decisions, only=EVENT_KINDS)
    dispatcher.observers.add(status, only=STATUS_KINDS)
    if packer:
        dispatcher.observers.add(packer, only=(PartCommitted,))
    dispatcher.observers.add(*observers)
    return dispatcher


def _finish(job: Job, there: Records) -> None:
    """Write the pages and `_SUCCESS`. Raises OutputFailedError if parts are missing.

    there: the records, read once for all that follows: a large job has many.
    """
    if len(there) < job.prompts.num_parts:
        job.output.unfinish()
        missing = [n for n in range(job.prompts.num_parts) if n not in there]
        raise OutputFailedError(
            f"{_these(missing)} of {job.output.url!r} disappeared after being written, again "
            "and again. Find what removes them, and run the same command again: it goes on from "
            "the parts that are there."
        )
    patiently(
        lambda: job.output.finish(
            {"README.md": card(job.output, there), "report.html": report(job.output, there)}
        ),
        patience_in_all(job.spec.stall_timeout_seconds),
    )
    try:
        job.output.pack_records(there)
    except OutputFailedError as error:
        log.info("the records are not packed, which costs the next start time only: %s", error)


@contextmanager
def _driving(job: Job, work: Work, attempt: Attempt) -> Iterator[StatusReporter]:
    """Warn of other drivers, sweep the temporary files of dead ones, and keep the status."""
    with heartbeat(job.output) as beating, reporting(job, work, attempt) as status:
        for other in beating.others:
            log.warning(
                "another run writes to %s too (%s). Both may go on, and the dataset will be right, "
                "but the work is done twice: stop one of them.", job.output.url, other,
            )  # fmt: skip
        job.output.sweep(beating.now)
        try:
            yield status
        finally:
            with suppress(OutputFailedError):  # the runner raises for an output that fails
                job.output.flush_timeline()


def _thresholds(job: Job) -> tuple[float, ...]:
    """Those that are written down: another driver may have been the first to calibrate."""
    job.output.check_there()
    continues(job)
    return thresholds_in(job.output.require_job())
