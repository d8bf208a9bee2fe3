"""The main path of a job: parts in, cascades driven, finished parts out.

    for each part of the input that has no record yet:
        its Cascade says what to do;  the Dispatcher does it on the actor pools (ray_executor.py);
        what comes back goes to the Cascade;  its last instruction commits the part.

`run_job` is the whole of it; `retry_job` does the same for the failed rows of finished parts. The
runner opens parts in order and keeps few of them open, which is the backpressure: what is not open
costs nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isinf
from typing import Any

from actors.errors import OutputFailedError, TooManyFailuresError
from jobs.execution.active_part import ActivePart
from jobs.execution.calibration import NOTHING_TO_CALIBRATE, calibrate
from jobs.execution.calls import Abandon, Call, Done, Event, Instruction, Release, Stage
from jobs.execution.cascade import Cascade, best_draws
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.estimators import RejectionEstimator
from jobs.execution.progress import OBSERVER_SECONDS, Observer, Progress
from jobs.execution.scaling_controller import ScalingController
from jobs.identity import claim, continues, is_outdated, write_job
from jobs.input.prompts import MAX_PART_BYTES, Part
from jobs.output.heartbeat import heartbeat
from jobs.output.pages.dataset_card import card
from jobs.output.pages.report import report
from jobs.output.records import describe_calibration
from jobs.output.writer import rows_to_keep
from jobs.resolve import Job
from jobs.rules import Rules
from jobs.scaling.initial_sizes import guess_loads

log = logging.getLogger("bottega.runner")

LEAST_REJECTED = 0.02
"""For a lower fraction of rejected rows no more parts are opened than for this."""

MOST_BUFFERED_ROWS = 50_000
"""Rows of open parts that only wait: the driver remembers each of them."""

MOST_OPEN_BYTES = 2 * MAX_PART_BYTES
"""Of the input's own columns in open parts, which are in the driver's memory: pictures, say."""

MIN_ROWS_BEFORE_GIVING_UP = 100
"""Where `max_failed` is a fraction: a few failed rows at the very start do not end a job."""


def run_job(
    job: Job,
    make_dispatcher: Callable[[], Dispatcher],
    observer: Observer | None = None,
    extend: bool = False,
) -> Progress:
    """Run a job to its end, or from where it stopped; returns how it ended.

    make_dispatcher: called only if there is something left to do. extend: the input may have grown.
    Raises OutputError for a folder that holds another job, JobError when the job cannot end well.
    """
    claim(job)
    before = continues(job, extend)
    if before is None or extend:
        job.prompts.check_ids()
    with _driving(job):
        if job.prompts.num_rows == 0 and before is None:
            write_job(job, NOTHING_TO_CALIBRATE)
        # An input without rows had nothing to calibrate on.
        known = before if before and before["rows"] else None
        runner = Runner(job, observer)
        if runner.todo:
            job.output.unfinish()
        if known and is_outdated(known, job):
            if known["rows"] != job.prompts.num_rows:
                log.info("the input grew from %d to %d rows", known["rows"], job.prompts.num_rows)
            write_job(job, known["calibration"], replace=True)
        if runner.todo:
            with make_dispatcher() as dispatcher:
                if known is None:
                    _calibrate_and_write(job, dispatcher, observer, replace=before is not None)
                runner.run(dispatcher, job.rules(_threshold(job)))
        else:
            log.info("nothing to do: all %d parts are there", job.prompts.num_parts)
        runner.check_failures()
        _finish(job)
    return runner.progress()


def retry_job(
    job: Job, make_dispatcher: Callable[[], Dispatcher], observer: Observer | None = None
) -> Progress:
    """Draw the failed rows of finished parts again, into the same parts; returns how it ended.

    Every other row keeps its bytes. Raises as `run_job` does.
    """
    continues(job)
    with _driving(job):
        runner = Runner(job, observer, retry=True)
        if runner.todo:
            job.output.unfinish()
            with make_dispatcher() as dispatcher:
                runner.run(dispatcher, job.rules(_threshold(job)))
        progress = runner.progress()
        if progress.parts_done == progress.num_parts:
            _finish(job)
    return progress


def _finish(job: Job) -> None:
    job.output.finish({"README.md": card(job.output), "report.html": report(job.output)})


@contextmanager
def _driving(job: Job) -> Iterator[None]:
    """Tell of other drivers, and clear away what dead ones left."""
    with heartbeat(job.output.path) as signed:
        for other in signed.others:
            log.warning(
                "another run writes to %s too (%s). Both may go on, and the dataset will be right, "
                "but the work is done twice: stop one of them.", job.output.path, other,
            )  # fmt: skip
        job.output.sweep(signed.now)
        yield


def _calibrate_and_write(
    job: Job, dispatcher: Dispatcher, observer: Observer | None, replace: bool
) -> None:
    calibration = calibrate(job, dispatcher, observer)
    write_job(job, calibration.as_json(), replace)
    log.info("threshold: %s", describe_calibration(calibration.as_json()))


def _threshold(job: Job) -> float:
    """As it is written down: another driver may have been the first to calibrate."""
    job.output.check_there()
    continues(job)
    return float(job.output.require_job()["threshold"])


class Runner:
    """The parts of one run: those that are not there, or with `retry` those with failed rows."""

    def __init__(self, job: Job, observer: Observer | None = None, retry: bool = False) -> None:
        self.job = job
        self._observer = observer
        self._retry = retry
        there = {n: r for n, r in job.output.records().items() if r["rows"] == _rows_in(job, n)}
        if retry:
            self.todo = [n for n, record in there.items() if record["failed"]]
        else:
            self.todo = [n for n in range(job.prompts.num_parts) if n not in there]
        """The numbers of the parts to do, in order."""
        todo = set(self.todo)
        resumed = [record for n, record in there.items() if n not in todo]
        self._parts_done = len(resumed)
        self._resumed_rows = self._done_rows = sum(record["rows"] for record in resumed)
        self._failed_rows = sum(record["failed"] for record in resumed)
        self._open: dict[int, ActivePart] = {}
        self._open_rows = 0
        self._open_bytes = 0
        self._to_draw = {n: there[n]["failed"] if retry else _rows_in(job, n) for n in self.todo}
        """Rows of the parts that are not open yet, by part."""
        self._unopened_rows = sum(self._to_draw.values())
        self._counts: Counter[str] = Counter()
        self._started = 0.0
        self._dispatcher: Dispatcher | None = None
        self._rejection = RejectionEstimator(0.5, weight=0.0)
        self._scaling: ScalingController | None = None

    def run(self, dispatcher: Dispatcher, rules: Rules) -> None:
        """Open parts and drive them until every part has its record."""
        self._dispatcher = dispatcher
        self._started = told = dispatcher.executor.now()
        self._rejection = self._expected(rules)
        scaling = self._scaling = ScalingController(self.job, dispatcher, self._rejection)
        scaling.begin()
        if self._retry:
            log.info("%d parts have failed rows, which are drawn again", len(self.todo))
        elif self._parts_done:
            log.info(
                "continuing: %d of %d parts are there", self._parts_done, self.job.prompts.num_parts
            )
        todo = set(self.todo)
        parts = (p for p in self.job.prompts.parts(first=self.todo[0]) if p.index in todo)
        while True:
            most_rows = self._most_rows(dispatcher, rules)
            while self._may_open(dispatcher, most_rows) and (part := next(parts, None)):
                opened = self._opened(part, rules)
                self._open[part.index] = opened
                self._open_rows += len(part.prompts)
                self._open_bytes += part.table.nbytes
                self._unopened_rows -= self._to_draw.pop(part.index)
                self._carry_out(opened, opened.cascade.start())
            if not self._open:
                return
            scaling.look(self._unopened_rows, most_rows - self._open_rows)
            for owner, event in dispatcher.wait(timeout_seconds=0.5):
                self._judged(event, rules)
                self._carry_out(owner, owner.cascade.handle(event))
            if dispatcher.executor.now() - told > OBSERVER_SECONDS:
                self.job.output.check_there()
                self.check_failures()
                if self._observer:
                    self._observer(self.progress())
                told = dispatcher.executor.now()

    def _opened(self, part: Part, rules: Rules) -> ActivePart:
        there = self.job.output.part_file(part.index)
        kept = rows_to_keep(there) if self._retry else frozenset[int]()
        return ActivePart(part, Cascade(len(part.prompts), rules, part.invalid_rows, kept))

    def _expected(self, rules: Rules) -> RejectionEstimator:
        """What is known of the fraction that will be rejected, before a row is judged."""
        if isinf(rules.threshold):
            return RejectionEstimator(float(rules.threshold > 0), certain=True)
        found = (self.job.output.read_job() or {}).get("calibration")
        if found and found["rows"]:
            return RejectionEstimator(found["refine"], weight=found["rows"])
        return RejectionEstimator(guess_loads(self.job).rejected, weight=8.0)

    def _judged(self, event: Event, rules: Rules) -> None:
        """Learn from the oracle."""
        if isinstance(event, Done) and event.call.stage is Stage.SCORE_DRAWN:
            draws, best = rules.draws, event.scores
            if draws > 1:
                drawn = best_draws(best, draws)
                best = tuple(best[row * draws + which] for row, which in enumerate(drawn))
            rejected = sum(score < rules.threshold for score in best)
            assert self._scaling is not None
            self._rejection.add(len(best), rejected, self._scaling.window)

    def _may_open(self, dispatcher: Dispatcher, most_rows: float) -> bool:
        if not self._open:
            return True
        has_room = self._open_rows < most_rows and self._open_bytes < MOST_OPEN_BYTES
        return has_room and dispatcher.wants_rows

    def _most_rows(self, dispatcher: Dispatcher, rules: Rules) -> float:
        """Rows of open parts that feed every actor twice over, and the balance's buffer.

        Bytes have their own bound: the crew draws only what fits into the object store.
        """
        assert self._scaling is not None
        rejected = max(LEAST_REJECTED, self._rejection.mean)
        students = dispatcher.pools["student"].size * rules.student_batch
        teachers = dispatcher.pools["teacher"].size * rules.teacher_batch
        fed = 2 * (students + teachers / rejected)
        buffer = min(MOST_BUFFERED_ROWS, self._scaling.buffer_rows / rejected)
        return self.job.spec.rows_per_part + 2 * fed + buffer

    def _carry_out(self, owner: ActivePart, instructions: list[Instruction]) -> None:
        assert self._dispatcher is not None
        for instruction in instructions:
            match instruction:
                case Call():
                    self._dispatcher.send(owner, instruction)
                case Release():
                    self._dispatcher.let_go(owner, instruction)
                case Abandon(reason):
                    raise OutputFailedError(
                        f"part {owner.part.index} cannot be written: {reason.rstrip('.')}."
                    )
        if owner.cascade.done:
            self._finish(owner)

    def _finish(self, owner: ActivePart) -> None:
        assert owner.record is not None
        del self._open[owner.part.index]
        self._open_rows -= owner.cascade.num_rows
        self._open_bytes -= owner.part.table.nbytes
        self._parts_done += 1
        self._done_rows += owner.record["rows"]
        self._failed_rows += owner.record["failed"]
        log.info("part %d is done: %s", owner.part.index, _told(owner.record))
        self._counts += _count_rows(owner.cascade)
        for row, error in sorted(owner.cascade.errors.items()):
            log.warning("row %d failed: %s", owner.part.first_row + row, error)
        self.check_failures()

    def check_failures(self) -> None:
        """Raise TooManyFailuresError when more rows failed than the job allows.

        Rows of open parts count as soon as they failed, and until then as good.
        """
        opened = [part.cascade for part in self._open.values()]
        rows = self._done_rows + sum(cascade.num_rows for cascade in opened)
        failed = self._failed_rows + sum(cascade.num_failed for cascade in opened)
        allowed = self.job.spec.max_failed
        if isinstance(allowed, int):
            told, too_many = f"{allowed} (a fraction is written with a point)", failed > allowed
        else:
            enough = rows >= min(MIN_ROWS_BEFORE_GIVING_UP, self.job.prompts.num_rows)
            told, too_many = f"{allowed:.0%}", enough and failed > allowed * rows
        if too_many:
            raise TooManyFailuresError(
                f"{failed} of {rows} rows failed, and max_failed allows {told}. The log and the "
                "column `error` of the finished parts say why; mend the cause and draw them again "
                f"with `bottega retry {self.job.output.path}`, or raise max_failed."
            )

    def progress(self) -> Progress:
        """How the job stands now."""
        counts = sum((_count_rows(part.cascade) for part in self._open.values()), self._counts)
        return Progress(
            num_rows=self.job.prompts.num_rows,
            done_rows=self._done_rows,
            resumed_rows=self._resumed_rows,
            failed_rows=self._failed_rows,
            judged_rows=counts["judged"],
            rejected_rows=counts["rejected"],
            refined_rows=counts["refined"],
            parts_done=self._parts_done,
            num_parts=self.job.prompts.num_parts,
            elapsed_seconds=self._dispatcher.executor.now() - self._started
            if self._dispatcher
            else 0.0,
            pools=self._dispatcher.views() if self._dispatcher else [],
            balance=self._scaling.last_reason if self._scaling else "",
        )


def _rows_in(job: Job, index: int) -> int:
    """Rows that a part has by the input as it is now; it may have grown since the part was made."""
    size = job.spec.rows_per_part
    return min(size, job.prompts.num_rows - index * size)


def _count_rows(cascade: Cascade) -> Counter[str]:
    return Counter(
        judged=cascade.num_judged, rejected=cascade.num_rejected, refined=cascade.num_refined
    )


def _told(record: dict[str, Any]) -> str:
    return (
        f"{record['rows']} rows, {record['refined']} refined by the teacher, "
        f"{record['failed']} failed"
    )
