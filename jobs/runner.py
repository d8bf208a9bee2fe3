"""The main path of a job: parts in, cascades driven on Ray, finished parts out.

    for each part of the input that has no record yet:
        its Cascade says what to do;  the Crew does it on the actor pools;
        what comes back goes to the Cascade;  its last instruction commits the part.

`run_job` is the whole of it. The runner opens parts in order and keeps few of them open, which is
the backpressure: what is not open costs nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from math import ceil
from time import monotonic
from typing import Any

from actors.errors import JobError, OutputError, TooManyFailuresError
from jobs.calibrate import Calibration, calibrate, describe
from jobs.cascade import Abandon, Call, Cascade, Instruction, Release, Rules, State
from jobs.crew import Crew, OpenPart
from jobs.job import Job
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
    listener: Listener = lambda _: None,
) -> Progress:
    """Run a job to its end, or from where it stopped; returns how it ended.

    make_crew: called only if there is something left to do.
    Raises OutputError for a folder that holds another job, JobError when the job cannot end well.
    """
    job.output.claim()
    before = check_same_job(job)
    runner = Runner(job, listener)
    if runner.progress().done_rows == job.prompts.num_rows:
        log.info("nothing to do: all %d parts are there", job.prompts.num_parts)
        return runner.progress()
    with make_crew() as crew:
        threshold = before["threshold"] if before else _calibrate_and_write(job, crew)
        runner.run(crew, job.rules(float(threshold)))
    return runner.progress()


def check_same_job(job: Job) -> dict[str, Any] | None:
    """The job.json that is in the output folder; None for a new job.

    Raises OutputError, with the fields that differ, if it is another job's.
    """
    before = job.output.read_job()
    if before is None:
        return None
    now = job.identity()
    changed = list(_differences(before["identity"], now))
    if changed:
        raise OutputError(
            f"output {str(job.output.path)!r} holds another job. What differs:\n"
            + "\n".join(f"  {line}" for line in changed)
            + "\nChoose a new output folder, or put the job back as it was."
        )
    return before


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in sorted({*before, *now})
            for line in _differences(before.get(name), now.get(name), f"{path}.{name}".lstrip("."))
        ]
    return [] if before == now else [f"{path.removeprefix('spec.')}: was {before!r}, is {now!r}"]


def _calibrate_and_write(job: Job, crew: Crew) -> float:
    calibration = calibrate(job, crew)
    write_job(job, calibration)
    log.info("threshold: %s", describe(asdict(calibration)))
    return calibration.threshold


def write_job(job: Job, calibration: Calibration) -> None:
    """Fix the threshold, before the first part starts."""
    job.output.write_job(
        {
            "identity": job.identity(),
            # As text, because JSON has no infinity.
            "threshold": str(calibration.threshold),
            "calibration": {**calibration.as_json(), "threshold": str(calibration.threshold)},
            **job.about(),
        }
    )


class Runner:
    """The parts of one run."""

    def __init__(self, job: Job, listener: Listener) -> None:
        self.job = job
        self._listener = listener
        self._records = job.output.records()
        self._resumed_rows = sum(record["rows"] for record in self._records.values())
        self._open: dict[int, OpenPart] = {}
        self._counts: Counter[str] = Counter()
        self._started = monotonic()
        self._crew: Crew | None = None

    def run(self, crew: Crew, rules: Rules) -> None:
        """Open parts and drive them until every part has its record."""
        self._crew = crew
        missing = [n for n in range(self.job.prompts.num_parts) if n not in self._records]
        if self._records:
            log.info(
                "continuing: %d of %d parts are there",
                len(self._records),
                self.job.prompts.num_parts,
            )
        parts = self.job.prompts.parts(first=missing[0] if missing else self.job.prompts.num_parts)
        told = 0.0
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
            if monotonic() - told > LISTENER_SECONDS:
                self._listener(self.progress())
                told = monotonic()

    def _most_open(self, crew: Crew, rules: Rules) -> int:
        """Enough open parts to feed every actor twice over, also when few rows are rejected.

        But no more than fit into half of the object store, by what a drawn row took so far.
        """
        students = crew.pools["student"].size * rules.student_batch
        teachers = crew.pools["teacher"].size * rules.teacher_batch
        size = self.job.spec.rows_per_part
        wanted = 1 + ceil(2 * (students + 4 * teachers) / size)
        if crew.bytes_per_row:
            wanted = min(wanted, int(crew.object_store_bytes / 2 / (size * crew.bytes_per_row)))
        return max(1, wanted)

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
        self._check_failures()

    def _check_failures(self) -> None:
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
            elapsed_seconds=monotonic() - self._started,
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
        f"{record['rows']} rows, {record['refined']} improved by the teacher, "
        f"{record['failed']} failed"
    )
