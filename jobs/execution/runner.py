"""The main loop of a job: parts in, cascades driven, finished parts out.

    for each part of the input that has no record yet:
        its Cascade issues calls;  the Dispatcher sends them to the actor pools;
        each completion goes to the Cascade;  its last instruction commits the part.

The runner opens parts in order and keeps few of them open, which is the backpressure: a part that
is not open costs nothing. `jobs.execution.run` has what comes before and after.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from math import inf, isinf
from typing import Any

from actors.counted import counted
from actors.errors import InterruptedJobError, OutputFailedError, TooManyFailuresError
from jobs.execution.active_part import ActivePart, cascade_of
from jobs.execution.calls import Abandon, Call, Done, Event, Instruction, Release
from jobs.execution.cascade import Cascade
from jobs.execution.decision_log import DecisionLog
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.estimators import RejectionEstimator
from jobs.execution.observers import PartCommitted, Stopping, StoreMeasured
from jobs.execution.progress import PROGRESS_SECONDS, Progress
from jobs.execution.row_state import State, best_draws
from jobs.execution.scaling_controller import ScalingController
from jobs.execution.stages import Stage, Step
from jobs.input.prompts import MAX_PART_BYTES, Part
from jobs.output.patience import patience_in_all
from jobs.output.records import DEVICES, TRUNCATED, UNREFINABLE
from jobs.output.writer import rows_to_keep
from jobs.resolution import Job
from jobs.rules import Rules
from jobs.scaling.initial_sizes import GUESSED_ROWS, expected_rungs, guess_loads
from jobs.scaling.rungs import RungLoads, measured_loads

log = logging.getLogger("bottega.runner")

FIRST_SCORES = Step(Stage.SCORE_DRAWN)

LEAST_REJECTED = 0.02
"""The number of open parts grows with 1 / the rejected fraction, and no further than for this one:
at 2 % a teacher's batch of 16 waits for 800 rows, which is a part of the usual size."""

MOST_BUFFERED_ROWS = 50_000
"""Rows of open parts that only wait for a teacher. The driver remembers each of them, in some 4 kB
with its calls and references: 200 MB (docs/performance.md: a driver holds 300)."""

MOST_OPEN_BYTES = 2 * MAX_PART_BYTES
"""Of the input's own columns in open parts, which are in the driver's memory, pictures included:
one part of the largest size that is allowed is driven while the next is read."""

MIN_ROWS_BEFORE_GIVING_UP = 100
"""Where `max_failed` is a fraction: of fewer rows a few failed ones say little about the job."""

MOST_PADDED = 1.25
"""Computed rows for each row of a part, above which a warning is logged. Chosen: the few sizes that
people take cost less, and a batch for each row costs much more."""

WAIT_SECONDS = 0.5
"""The longest wait for a completion; then the sizes are looked at again, and stops are seen."""


class Runner:
    """The parts of one run: those that are not there, or with `retry` those with failed rows."""

    def __init__(
        self,
        job: Job,
        retry: bool = False,
        decisions: DecisionLog | None = None,
        most_buffered_rows: float = MOST_BUFFERED_ROWS,
    ) -> None:
        """`decisions`: the log that follows the open parts, if any does."""
        self.job = job
        self._retry = retry
        self._decisions = decisions
        self._most_buffered_rows = most_buffered_rows
        there = finished_parts(job)
        self.there = frozenset(there)
        """The numbers of the parts that were finished when this run began."""
        if retry:
            self._to_draw = _drawable_rows(job, there)
        else:
            parts = (n for n in range(job.prompts.num_parts) if n not in there)
            self._to_draw = {n: _rows_in(job, n) for n in parts}
        """Rows to be drawn of the parts that are not open yet, by part."""
        self.todo = list(self._to_draw)
        """The numbers of the parts to do, in order."""
        todo = set(self.todo)
        resumed = [record for n, record in there.items() if n not in todo]
        self._parts_done = len(resumed)
        self._kept_devices = {n: there[n].get(DEVICES, {}) for n in self._to_draw if retry}
        """By part that a retry opens: the devices that made the rows that it keeps."""
        self._kept_rows = {n: there[n]["rows"] - rows for n, rows in self._to_draw.items() if retry}
        """By part that a retry opens: the rows that it does not draw."""
        self._resumed_rows = self._done_rows = sum(record["rows"] for record in resumed) + sum(
            self._kept_rows.values()
        )
        self._failed_rows = sum(record["failed"] for record in resumed)
        self._unrefinable_rows = sum(record.get(UNREFINABLE, 0) for record in resumed)
        self._unrefinable_before = {n: r.get(UNREFINABLE, 0) for n, r in there.items() if n in todo}
        """By part that a retry opens: such rows among those that it keeps."""
        self._truncated_before = {n: r.get(TRUNCATED, {}) for n, r in there.items() if n in todo}
        self._devices_before = _devices(there.values())
        self._open: dict[int, ActivePart] = {}
        self._open_rows = 0
        self._open_bytes = 0
        self._unopened_rows = sum(self._to_draw.values())
        self._counts: Counter[str] = Counter()
        self._rungs: Counter[tuple[str, int]] = Counter()
        """Of the parts that are done: by rung, the rows that took it, and those that are known to
        have taken it or not."""
        self._expected_rungs = expected_rungs(job)
        self._started = 0.0
        self._away_since: float | None = None
        """When the output folder was first found missing; None while it is there."""
        self._warned_of_padding = False
        self._dispatcher: Dispatcher | None = None
        self._rejection = RejectionEstimator(0.5, weight=0.0)
        self._scaling: ScalingController | None = None

    def run(self, dispatcher: Dispatcher, rules: Rules) -> None:
        """Open parts and drive them until every part has its record.

        After a stop it commits the parts whose rows are all decided, and raises.
        """
        try:
            self._run(dispatcher, rules)
        except InterruptedJobError as error:
            self._drain(dispatcher)
            if not (judged := self._judged_in_open_parts):
                raise
            again = f"{counted(judged, 'judged row')} of unfinished parts will be drawn again"
            raise InterruptedJobError(f"{error} {again}.") from error

    @property
    def _judged_in_open_parts(self) -> int:
        """Rows with a score, in parts that have no record: the work that a stop loses."""
        return sum(part.cascade.num_judged for part in self._open.values())

    def _drain(self, dispatcher: Dispatcher) -> None:
        """Commit the parts of which only files are left, within the dispatcher's limit."""
        reason = "it was asked to stop: it opens nothing new, and commits what is decided"
        dispatcher.observers.notify(Stopping(reason))
        dispatcher.drain()
        now = dispatcher.executor.now
        until = now() + dispatcher.drain_seconds
        while now() < until and any(part.cascade.only_files_left for part in self._open.values()):
            for owner, event in dispatcher.wait(min(WAIT_SECONDS, until - now())):
                self._carry_out(owner, owner.handle(event))
        self._show()

    def _run(self, dispatcher: Dispatcher, rules: Rules) -> None:
        self._dispatcher = dispatcher
        dispatcher.measurements.devices_before = self._devices_before
        self._started = last_shown = dispatcher.executor.now()
        self._rejection = self._expected(rules)
        scaling = self._scaling = ScalingController(
            self.job, dispatcher, self._rejection, self.rung_loads
        )
        scaling.begin()
        if self._retry:
            log.info(
                "to be drawn again: %s of %s",
                counted(self._unopened_rows, "failed row"),
                counted(len(self.todo), "part"),
            )
        elif self._parts_done:
            log.info(
                "continuing: %d of %s already there",
                self._parts_done,
                counted(self.job.prompts.num_parts, "part"),
            )
        parts = self.job.prompts.parts(only=self.todo)
        while True:
            most_rows = self._most_rows(dispatcher, rules)
            while self._may_open(dispatcher, most_rows) and (part := next(parts, None)):
                self._start(part, rules)
            if not self._open:
                return
            room = most_rows - self._open_rows
            scaling.adjust(
                self._unopened_rows, room, self._unjudged_rows, rows_unbatched=self._unbatched_rows
            )
            for owner, event in dispatcher.wait(WAIT_SECONDS):
                self._learn(event, rules)
                self._carry_out(owner, owner.handle(event))
            if dispatcher.executor.now() - last_shown > PROGRESS_SECONDS:
                self._check_folder(dispatcher.executor.now())
                self.check_failures()
                self._show()
                last_shown = dispatcher.executor.now()

    def _check_folder(self, now: float) -> None:
        """Raise OutputFailedError when the folder is away for too long: its disk may come back."""
        try:
            self.job.output.check_there()
        except OutputFailedError as error:
            if self._away_since is None:
                self._away_since = now
                reason = str(error.__cause__ or error).rstrip(".")
                log.warning("the output folder is away (%s); the job waits for it", reason)
            patience = patience_in_all(self.job.spec.stall_timeout_seconds)
            if now - self._away_since >= patience:
                raise
        else:
            if self._away_since is not None:
                log.warning("the output folder is back after %.0f s", now - self._away_since)
            self._away_since = None

    def check_failures(self) -> None:
        """Raise TooManyFailuresError when more rows failed than the job allows.

        Rows of open parts count as soon as they failed, and until then as good. A row whose
        refinement failed counts too: a teacher that makes no pictures costs GPUs for nothing.
        """
        opened = [part.cascade for part in self._open.values()]
        kept = sum(self._kept_rows.get(number, 0) for number in self._open)
        rows = self._done_rows - kept + sum(cascade.num_rows for cascade in opened)
        unrefinable = self._unrefinable_rows + sum(cascade.num_unrefinable for cascade in opened)
        failed = self._failed_rows + sum(cascade.num_failed for cascade in opened) + unrefinable
        allowed = self.job.spec.max_failed
        if isinstance(allowed, int):
            shown, too_many = f"{allowed} (a fraction is written with a point)", failed > allowed
        else:
            enough = rows >= min(MIN_ROWS_BEFORE_GIVING_UP, self.job.prompts.num_rows)
            shown, too_many = f"{allowed:.0%}", enough and failed > allowed * rows
        if too_many:
            refining = (
                f", {unrefinable} of them in the teacher, so that they keep the student's picture "
                "(try models.teacher.dtype: bfloat16 or float32, in a new output)"
                if unrefinable
                else ""
            )
            reasons = Counter(reason for one in opened for reason in one.errors.values())
            most = "".join(
                f" Most of those in unfinished parts: {reason.rstrip('.')}."
                for reason, _ in reasons.most_common(1)
            )
            raise TooManyFailuresError(
                f"{failed:,} of {rows:,} rows failed{refining}, and max_failed allows {shown}."
                f"{most} The log and the column `error` of the finished parts say more; mend the "
                f"cause and draw them again with `bottega retry {self.job.output.url}`, or raise "
                "max_failed."
            )

    def progress(self) -> Progress:
        """The job as it stands now."""
        counts = sum((_count_rows(part.cascade) for part in self._open.values()), self._counts)
        dispatcher = self._dispatcher
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
            elapsed_seconds=dispatcher.executor.now() - self._started if dispatcher else 0.0,
            seconds_left=self._seconds_left(counts) if dispatcher else None,
            pools=dispatcher.views() if dispatcher else [],
            balance=self._scaling.last_reason if self._scaling else "",
            waiting=dispatcher.waiting if dispatcher else "",
            rungs=self._num_taken() if self.job.spec.ladder else (),
        )

    def _seconds_left(self, counts: Counter[str]) -> float | None:
        assert self._scaling is not None
        return self._scaling.seconds_left(
            self._unopened_rows + self._unjudged_rows(), counts["rejected"] - counts["refined"]
        )

    def _unjudged_rows(self) -> int:
        return sum(part.cascade.num_waiting for part in self._open.values())

    def _unbatched_rows(self) -> int:
        return sum(part.cascade.num_unbatched for part in self._open.values())

    def _num_taken(self) -> tuple[int, ...]:
        counts = sum((_count_rungs(part.cascade) for part in self._open.values()), self._rungs)
        return tuple(counts["taken", number] for number in range(len(self.job.spec.attempts)))

    def rung_loads(self) -> RungLoads:
        """How many rows take each rung, by what was expected and by what they did so far."""
        if self.job.spec.ladder is None:
            return RungLoads((1.0, self._rejection.mean), (False, True))
        counts = sum((_count_rungs(part.cascade) for part in self._open.values()), self._rungs)
        numbers = range(len(self.job.spec.attempts))
        taken, known = ([counts[what, n] for n in numbers] for what in ("taken", "known"))
        return measured_loads(self._expected_rungs, taken, known, GUESSED_ROWS)

    def _show(self) -> None:
        assert self._dispatcher is not None
        budget, observers = self._dispatcher.budget, self._dispatcher.observers
        if observers.watching(StoreMeasured):
            observers.notify(StoreMeasured(budget.held, budget.limit))
        if observers.watching(Progress):
            observers.notify(self.progress())

    # ---- parts

    def _warn_of_padding(self, cascade: Cascade) -> None:
        """Log, once, that rows of many sizes or guidance scales fill few batches."""
        rules, groups, rows = cascade.rules, cascade.groups, cascade.num_rows
        for role, sets, size in (
            ("student", groups.student, rules.student_batch),
            ("teacher", groups.teacher, rules.teacher_batch),
        ):
            padded = sum(-(-group.bit_count() // size) * size for group in sets)
            if padded > MOST_PADDED * rows and not self._warned_of_padding:
                self._warned_of_padding = True
                log.warning(
                    "the %d rows of a part have %d combinations of size and guidance scale, and "
                    "rows of different ones share no batch: of the %s's batches %.0f %% or more is "
                    "padding. Fewer different values, or more rows_per_part, make it faster",
                    rows, len(sets), role, 100 * (1 - rows / padded),
                )  # fmt: skip

    def _start(self, part: Part, rules: Rules) -> None:
        output, index = self.job.output, part.index
        kept = rows_to_keep(output, index) if self._retry else frozenset[int]()
        cascade = cascade_of(part, rules, kept)
        self._warn_of_padding(cascade)
        opened = self._open[part.index] = ActivePart(
            part,
            cascade,
            unrefinable_before=self._unrefinable_before.get(part.index, 0),
            truncated_before=self._truncated_before.get(part.index, {}),
        )
        for pool, kinds in self._kept_devices.get(part.index, {}).items():
            opened.devices[pool].update(kinds)
        if self._decisions:
            self._decisions.follow(opened, _label(part))
        self._open_rows += len(part.prompts)
        self._open_bytes += part.table.nbytes
        self._unopened_rows -= self._to_draw.pop(part.index)
        self._carry_out(opened, opened.start())

    def _carry_out(self, owner: ActivePart, instructions: list[Instruction]) -> None:
        assert self._dispatcher is not None
        for instruction in instructions:
            match instruction:
                case Call():
                    self._dispatcher.send(owner, instruction)
                case Release():
                    self._dispatcher.release(owner, instruction)
                case Abandon(reason):
                    raise OutputFailedError(
                        f"part {owner.part.index} cannot be written: {reason.rstrip('.')}."
                    )
        if owner.cascade.done:
            self._finish(owner)

    def _finish(self, owner: ActivePart) -> None:
        assert owner.record is not None
        assert self._dispatcher is not None
        part, cascade = owner.part, owner.cascade
        del self._open[part.index]
        if self._decisions:
            self._decisions.close(_label(part))
        self._open_rows -= cascade.num_rows
        self._open_bytes -= part.table.nbytes
        self._parts_done += 1
        self._done_rows += owner.record["rows"] - self._kept_rows.get(part.index, 0)
        self._failed_rows += owner.record["failed"]
        self._unrefinable_rows += owner.record.get(UNREFINABLE, 0)
        self._counts += _count_rows(cascade)
        self._rungs += _count_rungs(cascade)
        failed = {part.first_row + row: why for row, why in sorted(cascade.errors.items())}
        self._dispatcher.observers.notify(
            PartCommitted(
                part.index,
                owner.record,
                failed,
                _outcomes(cascade),
                self._ids(part, failed),
                rungs=[
                    (rung.make, rows)
                    for rung, rows in zip(cascade.rules.ladder, cascade.num_taken, strict=True)
                ],
            )
        )
        self.check_failures()

    def _ids(self, part: Part, rows: Collection[int]) -> dict[int, object]:
        """The users' ids of some rows, by the rows' numbers; empty without a column of ids."""
        name = self.job.spec.id_column
        if name is None or name not in part.table.column_names:
            return {}  # a simulated part has no columns
        column = part.table.column(name)
        return {row: column[row - part.first_row].as_py() for row in rows}

    # ---- how many parts are open

    def _may_open(self, dispatcher: Dispatcher, most_rows: float) -> bool:
        if not self._open:
            return True
        has_room = self._open_rows < most_rows and self._open_bytes < MOST_OPEN_BYTES
        return has_room and dispatcher.wants_rows

    def _most_rows(self, dispatcher: Dispatcher, rules: Rules) -> float:
        """Rows of open parts that feed every actor twice over, and fill the teachers' buffer.

        Bytes have their own bound: the dispatcher draws only what fits into the object store.
        """
        assert self._scaling is not None
        rejected = max(LEAST_REJECTED, self.rung_loads().to_teacher)
        students = dispatcher.pools["student"].size * rules.student_batch
        teachers = dispatcher.pools["teacher"].size * rules.teacher_batch
        fed = 2 * (students + teachers / rejected)
        buffer = min(self._most_buffered_rows, self._scaling.buffer_rows / rejected)
        return self.job.spec.part_rows + 2 * fed + buffer

    # ---- the rejected fraction

    def _expected(self, rules: Rules) -> RejectionEstimator:
        """The fraction that will be rejected, as far as it is known before a row is judged."""
        if isinf(rules.threshold):
            return RejectionEstimator(float(rules.threshold > 0), certain=True)
        found = (self.job.output.read_job() or {}).get("calibration")
        if found and found["rows"]:
            # Of a job of which some parts are there, nobody knows how many the others rejected.
            rows = inf if self.there else self.job.prompts.num_rows
            return RejectionEstimator(found["refine"], weight=found["rows"], job_rows=rows)
        return RejectionEstimator(guess_loads(self.job).rejected, weight=GUESSED_ROWS)

    def _learn(self, event: Event, rules: Rules) -> None:
        """Learn from the oracle."""
        if isinstance(event, Done) and event.call.step == FIRST_SCORES:
            draws, best = rules.draws, event.scores
            if draws > 1:
                drawn = best_draws(best, draws)
                best = tuple(best[row * draws + which] for row, which in enumerate(drawn))
            rejected = sum(score < rules.threshold for score in best)
            assert self._scaling is not None
            self._rejection.add(len(best), rejected, self._scaling.window)


def finished_parts(job: Job) -> dict[int, dict[str, Any]]:
    """The records of the parts that are there whole, with the rows that the input has for them."""
    records = job.output.records()
    return {n: record for n, record in records.items() if record["rows"] == _rows_in(job, n)}


def _devices(records: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    """By pool: the kinds of devices that made these parts."""
    found: dict[str, set[str]] = {}
    for record in records:
        for pool, kinds in record.get(DEVICES, {}).items():
            found.setdefault(pool, set()).update(kinds)
    return found


def _drawable_rows(job: Job, there: dict[int, dict[str, Any]]) -> dict[int, int]:
    """By part: its failed rows that may be drawn again. Rows that cannot be drawn fail as before.

    Reads the parts' input, so that no model is loaded where nothing can be drawn.
    """
    failed = [number for number, record in there.items() if record["failed"]]
    found, in_vain = {}, 0
    for part in job.prompts.parts(only=failed):
        kept = rows_to_keep(job.output, part.index)
        rows = [row for row in range(len(part.prompts)) if row not in kept]
        drawable = sum(row not in part.invalid_rows for row in rows)
        in_vain += len(rows) - drawable
        if drawable:
            found[part.index] = drawable
    if in_vain:
        log.info(
            "%s cannot be drawn: the column `error` says what is wrong with the input",
            counted(in_vain, "failed row"),
        )
    return found


def _rows_in(job: Job, index: int) -> int:
    """Rows that a part has by the input as it is now; it may have grown since the part was made."""
    size = job.spec.part_rows
    return min(size, job.prompts.num_rows - index * size)


def _label(part: Part) -> str:
    return f"part {part.index}"


def _count_rows(cascade: Cascade) -> Counter[str]:
    return Counter(
        judged=cascade.num_judged,
        rejected=cascade.num_rejected,
        refined=cascade.num_settled_again,
    )


def _count_rungs(cascade: Cascade) -> Counter[tuple[str, int]]:
    counted = (("taken", cascade.num_taken), ("known", cascade.num_known))
    return Counter({(what, n): rows for what, each in counted for n, rows in enumerate(each)})


def _outcomes(cascade: Cascade) -> dict[str, int]:
    """What became of the rows of a part that this run decided; see `PartCommitted`."""
    states = Counter(row.state for row in cascade.rows)
    return {
        "accepted": states[State.ACCEPTED],
        "refined": states[State.REJECTED] - cascade.num_unrefinable,
        "unrefinable": cascade.num_unrefinable,
        "failed": states[State.FAILED],
    }
