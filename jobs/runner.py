"""The main path of a job: parts in, cascades driven, finished parts out.

    for each part of the input that has no record yet:
        its Cascade says what to do;  the Crew does it on the actor pools (jobs/on_ray.py);
        what comes back goes to the Cascade;  its last instruction commits the part.

`run_job` is the whole of it. The runner opens parts in order and keeps few of them open, which is
the backpressure: what is not open costs nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from math import ceil, floor, inf
from typing import Any

from actors.errors import JobError, TooManyFailuresError
from jobs.calibrate import NOTHING_TO_CALIBRATE, calibrate, describe
from jobs.card import card
from jobs.cascade import Abandon, Call, Cascade, Instruction, Release, Rules, State
from jobs.crew import Crew
from jobs.job import Job
from jobs.open_part import OpenPart
from jobs.progress import Progress

log = logging.getLogger("bottega.runner")

Listener = Callable[[Progress], None]
"""Told how the job stands, a few times a second."""

LISTENER_SECONDS = 0.25

MIN_ROWS_BEFORE_GIVING_UP = 100
"""`max_failed` is a fraction: a few failed rows at the very start do not end a job."""


def run_job(
    job: Job,
    make_crew: Callable[[], Crew],
    listener: Listener | None = None,
) -> Progress:
    """Run a job to its end, or from where it stopped; returns how it ended.

    make_crew: called only if there is something left to do.
    Raises OutputError for a folder that holds another job, JobError when the job cannot end well.
    """
    job.output.claim()
    before = job.continues()
    runner = Runner(job, listener)
    if job.prompts.num_rows == 0 and before is None:
        job.write(NOTHING_TO_CALIBRATE)
    if runner.progress().done_rows == job.prompts.num_rows:
        log.info("nothing to do: all %d parts are there", job.prompts.num_parts)
    else:
        with make_crew() as crew:
            threshold = before["threshold"] if before else _calibrate_and_write(job, crew)
            runner.run(crew, job.rules(float(threshold)))
    runner.check_failures()
    job.output.finish(card(job))
    return runner.progress()


def _calibrate_and_write(job: Job, crew: Crew) -> float:
    calibration = calibrate(job, crew)
    job.write(calibration.as_json())
    log.info("threshold: %s", describe(calibration.as_json()))
    return calibration.threshold


class Runner:
    """The parts of one run."""

    def __init__(self, job: Job, listener: Listener | None = None) -> None:
        self.job = job
        self._listener = listener
        self._records = job.output.records()
        self._resumed_rows = sum(record["rows"] for record in self._records.values())
        self._open: dict[int, OpenPart] = {}
        self._counts: Counter[str] = Counter()
        self._started = 0.0
        self._crew: Crew | None = None

    def run(self, crew: Crew, rules: Rules) -> None:
        """Open parts and drive them until every part has its record."""
        self._crew = crew
        self._started = told = crew.hands.now()
        missing = [n for n in range(self.job.prompts.num_parts) if n not in self._records]
        if self._records:
            log.info(
                "continuing: %d of %d parts are there",
                len(self._records),
                self.job.prompts.num_parts,
            )
        parts = self.job.prompts.parts(first=missing[0] if missing else self.job.prompts.num_parts)
        while True:
            while len(self._open) < self._most_open(crew, rules):
                part = next((part for part in parts if part.index not in self._records), None)
                if part is None:
                    break
                opened = OpenPart(part, Cascade(len(part.prompts), rules, part.unusable))
                self._open[part.index] = opened
                self._carry_out(opened, opened.cascade.start())
            if not self._open:
                return
            for owner, event in crew.wait(timeout_seconds=0.5):
                self._carry_out(owner, owner.cascade.handle(event))
            if self._listener and crew.hands.now() - told > LISTENER_SECONDS:
                self._listener(self.progress())
                told = crew.hands.now()

    def _most_open(self, crew: Crew, rules: Rules) -> int:
        """Enough open parts to feed every actor twice over, also when few rows are rejected.

        But no more than fit into half of the object store, by what a drawn row took so far.
        """
        students = crew.pools["student"].size * rules.student_batch
        teachers = crew.pools["teacher"].size * rules.teacher_batch
        size = self.job.spec.rows_per_part
        wanted = 1 + ceil(2 * (students + 4 * teachers) / size)
        part_bytes = size * crew.bytes_per_row
        fitting = crew.object_store_bytes / 2 / part_bytes if part_bytes else inf
        return max(1, floor(min(wanted, fitting)))

    def _carry_out(self, owner: OpenPart, instructions: list[Instruction]) -> None:
        assert self._crew is not None
        for instruction in instructions:
            match instruction:
                case Call():
                    self._crew.send(owner, instruction)
                case Release(call, output):
                    owner.refs.pop((call, output), None)
                case Abandon(reason):
                    raise JobError(
                        f"part {owner.part.index} cannot be written: {reason}. Mend the output "
                        "folder and run the same command again; finished parts stay."
                    )
        if owner.cascade.done:
            self._finish(owner)

    def _finish(self, owner: OpenPart) -> None:
        assert owner.record is not None
        del self._open[owner.part.index]
        self._records[owner.part.index] = owner.record
        log.info("part %d is done: %s", owner.part.index, _told(owner.record))
        self._counts += _count_rows(owner.cascade)
        for number, row in enumerate(owner.cascade.rows):
            if row.state is State.FAILED:
                log.warning("row %d failed: %s", owner.part.first_row + number, row.error)
        self.check_failures()

    def check_failures(self) -> None:
        """Raise TooManyFailuresError when more rows failed than the job allows."""
        done = sum(record["rows"] for record in self._records.values())
        failed = sum(record["failed"] for record in self._records.values())
        allowed = self.job.spec.max_failed
        if failed > allowed * done and done >= min(
            MIN_ROWS_BEFORE_GIVING_UP, self.job.prompts.num_rows
        ):
            raise TooManyFailuresError(
                f"{failed} of {done} rows failed, and max_failed allows {allowed:.0%}. The column "
                "`error` of the finished parts says why; mend the cause or raise max_failed."
            )

    def progress(self) -> Progress:
        """How the job stands now."""
        done = sum(record["rows"] for record in self._records.values())
        counts = sum((_count_rows(part.cascade) for part in self._open.values()), self._counts)
        return Progress(
            num_rows=self.job.prompts.num_rows,
            done_rows=done,
            resumed_rows=self._resumed_rows,
            failed_rows=sum(record["failed"] for record in self._records.values()),
            judged_rows=counts["judged"],
            rejected_rows=counts["rejected"],
            refined_rows=counts["refined"],
            parts_done=len(self._records),
            num_parts=self.job.prompts.num_parts,
            elapsed_seconds=self._crew.hands.now() - self._started if self._crew else 0.0,
            pools=self._crew.views() if self._crew else [],
        )


def _count_rows(cascade: Cascade) -> Counter[str]:
    rows = cascade.rows
    return Counter(
        judged=sum(row.student_score is not None for row in rows),
        rejected=sum(row.state is State.REJECTED for row in rows),
        refined=sum(row.teacher_score is not None for row in rows),
    )


def _told(record: dict[str, Any]) -> str:
    return (
        f"{record['rows']} rows, {record['refined']} refined by the teacher, "
        f"{record['failed']} failed"
    )
