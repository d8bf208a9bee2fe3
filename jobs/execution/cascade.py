"""One part's way through the pools: events in, calls out.

Pure: no Ray, no torch, no clock, no files. The runner carries the calls out on Ray; tests carry
them out in every order, with faults.

    DRAW ──> SCORE_DRAWN ──> accepted ─────────────────────────> ENCODE_DRAWN ───┐
                   └──> rejected ──> REFINE ──> SCORE_REFINED ──> ENCODE_REFINED ┴──> COMMIT

The rows of a batch follow from the part, never from timing (DESIGN.md, section 1):

- the student's batches are consecutive rows;
- the teacher's are the rejected rows in row order, cut every `teacher_batch`; one is sent as soon
  as every row before its last is known to be accepted, rejected or failed;
- a row keeps its slot, its place in its batch, when only a piece of the batch is computed.

With `draws` the student draws each row several times, and the best scored drawing is the row's from
then on: the threshold, the teacher and the dataset see no other.

A call is known by its stage and its rows, so that a repeated call is the same call. The cascade
repeats a call that failed, then halves it until the row that breaks it stands alone; that row
fails, its neighbours do not. The same call makes an output again that was lost, with the same
bytes.

A row may fail in two stages, as its encoding with `save_student` runs beside the teacher. It fails
once the stages before the one that failed are decided, so that its reason, its scores and its
evaluations do not depend on which failed first.

A teacher's result that is no picture fails no row: the row keeps the student's picture, which the
student draws again where it was released.

The table of stages is in `stages`, the sets of rows in `row_set`, and `outputs` keeps which call
made which row's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from jobs.execution.calls import Abandon, Call, Event, Failed, Instruction, Lost
from jobs.execution.outputs import Made, PartOutputs
from jobs.execution.row_set import RowSet, batches, lowest, members_among, row_set
from jobs.execution.row_state import Row, Source, State, best_draws
from jobs.execution.stages import FILE_POOL, PICTURE_STAGES, STAGES, OutputKind, Stage
from jobs.rules import Rules

Scores = Sequence[tuple[int, float]]
"""Rows with their scores."""

MAX_BLAMELESS_FAILURES = 100
"""From the 101st on, a call's failures count although nobody blames it: an upper bound on retries
without blame. Far above what a cluster that loses nodes comes to, so it ends only endless loops."""


@dataclass(slots=True)
class _StageRows:
    """The rows of one stage.

    `ahead`: rows that may still need it; DRAW and COMMIT are needed by all and keep none. `active`:
    rows of calls that are running, or wait for their inputs.
    """

    ahead: RowSet = 0
    active: RowSet = 0


@dataclass(frozen=True, slots=True)
class _RowFailure:
    """`ran`: whether the stage ran through, and left nothing that the row can use."""

    stage: Stage
    reason: str
    ran: bool

    def comes_after(self, stage: Stage) -> bool:
        """Whether `stage` comes before the one that failed, in the order of the table."""
        return STAGE_ORDER.index(stage) < STAGE_ORDER.index(self.stage)


STAGE_ORDER = tuple(STAGES)


class Cascade:
    """The state of one part: `start` once, then `handle` each event; both return what to do."""

    def __init__(
        self,
        num_rows: int,
        rules: Rules,
        invalid_rows: dict[int, str] | None = None,
        kept: frozenset[int] = frozenset(),
    ) -> None:
        """`invalid_rows`: rows that cannot be drawn (say, an empty prompt), with the reason.

        `kept`: rows that stay as they are in the part on disk.
        """
        self.rules = rules
        self.num_rows = num_rows
        self.outputs = PartOutputs(num_rows, rules)
        self.done = False
        self.errors = {row: why for row, why in (invalid_rows or {}).items() if row not in kept}
        """By row that failed: the reason."""
        self._student_scores: list[float | None] = [None] * num_rows
        self._teacher_scores: list[float | None] = [None] * num_rows
        self._best_draw = [0] * num_rows
        """By row, once it is scored: which of its drawings is kept."""
        self.kept = kept
        self._kept = row_set(sorted(kept))
        self._failed = row_set(sorted(self.errors))
        self._failed_in: dict[int, _RowFailure] = {}
        """By row that failed in a stage."""
        self._undecided: dict[int, _RowFailure] = {}
        """By row that will fail, once the stages before the one that failed are decided."""
        self._waiting = row_set(range(num_rows)) & ~self._kept & ~self._failed
        """Rows that have no score yet and may get one."""
        self._judged: RowSet = 0
        """Rows that have the score of the student's picture."""
        self._below: RowSet = 0
        """Rows that the oracle rejected, whatever became of them."""
        self._refined: RowSet = 0
        """Rows that have the score of the teacher's picture."""
        self._student_is_better: RowSet = 0
        """Refined rows that keep the student's picture."""
        self._unrefinable: RowSet = 0
        """Rows for which the teacher can make no picture: they keep the student's."""
        self._stages = {
            stage: _StageRows(self._waiting if info.takes else 0) for stage, info in STAGES.items()
        }
        self._running: set[Call] = set()
        self._parked: list[Call] = []
        """Calls whose inputs were lost, and are being made again."""
        self._attempts: dict[Call, int] = {}
        self._failures: dict[Call, int] = {}
        self._seen_rows = 0
        """Rows before this one are known to be accepted, rejected or failed."""
        self._for_teacher: list[int] = []
        self._slots = {stage: [0] * num_rows for stage in PICTURE_STAGES}
        """By row, once its batch is cut: its slot there."""
        self._out: list[Instruction] = []

    def start(self) -> list[Instruction]:
        """The first calls: every batch of the student."""
        drawable = members_among(self._waiting, range(self.num_rows))
        for batch in batches(drawable, self.rules.student_batch):
            self._issue_batch(Stage.DRAW, batch)
        self._advance()
        return self._take_instructions()

    def handle(self, event: Event) -> list[Instruction]:
        """The instructions that follow from `event`. Late and doubled events change nothing."""
        if isinstance(event, Lost):
            self.outputs.lose(event)
            return []
        call = event.call
        if call not in self._running:
            return []
        self._running.discard(call)
        self._stages[call.stage].active &= ~call.row_set
        if isinstance(event, Failed):
            self._failed_once(call, event)
        else:
            if self._failures:
                self._attempts.pop(call, None)
                self._failures.pop(call, None)
            without = row_set([row for row, _ in event.permanent_failures])
            if call.stage is Stage.REFINE:
                self._keep_drawn(without)
            else:
                for row, reason in event.permanent_failures:
                    self._fail(row, call.stage, reason, ran=True)
            self._finished(call, event.scores)
        if self._undecided:
            for row, failure in list(self._undecided.items()):
                self._fail_if_decided(row, failure)
        self._advance()
        self._release(call)
        return self._take_instructions()

    # ---- the state of the rows

    @property
    def rows(self) -> list[Row]:
        """Every row as it stands now."""
        return [self._row(number) for number in range(self.num_rows)]

    @property
    def only_files_left(self) -> bool:
        """Whether every row is decided: pictures are to be encoded, the part to be committed."""
        return not self._waiting and not any(
            rows.ahead | rows.active
            for stage, rows in self._stages.items()
            if STAGES[stage].pool != FILE_POOL
        )

    @property
    def num_waiting(self) -> int:
        """Rows that have no score yet and may get one."""
        return self._waiting.bit_count()

    @property
    def num_judged(self) -> int:
        """Rows that have the score of the student's picture."""
        return self._judged.bit_count()

    @property
    def num_rejected(self) -> int:
        """Rows that the oracle rejected, without those that failed since."""
        return (self._below & ~self._failed).bit_count()

    @property
    def num_refined(self) -> int:
        """Rows that have the score of the teacher's picture."""
        return self._refined.bit_count()

    @property
    def num_unrefinable(self) -> int:
        """Rows that keep the student's picture, as the teacher can make none."""
        return (self._unrefinable & ~self._failed).bit_count()

    @property
    def num_failed(self) -> int:
        """Rows that failed so far."""
        return self._failed.bit_count()

    def made_by(self, stage: Stage, row: int) -> Call:
        """The call that made the row's output of `stage`."""
        maker = self.outputs.maker(stage, row)
        assert maker is not None
        return maker

    def spent(self, row: int) -> list[Stage]:
        """The stages whose network evaluations the row's result took.

        Of a row that failed: the stages before the one that failed, and that one if it ran through.
        """
        made = [stage for stage in PICTURE_STAGES if self.outputs.maker(stage, row) is not None]
        if failure := self._failed_in.get(row):
            made = [
                s for s in made if failure.comes_after(s) or (failure.ran and s is failure.stage)
            ]
        return made

    def places(self, call: Call, row: int, place: int) -> range:
        """Where a row that is number `place` of a source of `call` is in the source's output.

        Of several drawings the oracle gets all, and later stages get the best.
        """
        draws = self.rules.draws
        if draws == 1 or self.outputs.taken_by(call.stage) is not Stage.DRAW:
            return range(place, place + 1)
        first = place * draws
        if STAGES[call.stage].scores_each_draw:
            return range(first, first + draws)
        best = first + self._best_draw[row]
        return range(best, best + 1)

    def _row(self, number: int) -> Row:
        row: RowSet = 1 << number
        state: State = State.ACCEPTED
        source: Source | None = "student"
        if row & self._kept:
            state, source = State.KEPT, None
        elif row & self._failed:
            state, source = State.FAILED, None
        elif row & self._waiting:
            state, source = State.WAITING, None
        elif row & self._below:
            state, source = State.REJECTED, None
            if row & self._refined:
                source = "student" if row & self._student_is_better else "teacher"
            elif row & self._unrefinable:
                source = "student"
        student_score, teacher_score = self._student_scores[number], self._teacher_scores[number]
        if failure := self._failed_in.get(number):
            # A score that was there when an output, lost since, could not be made again.
            student_score = student_score if failure.comes_after(Stage.SCORE_DRAWN) else None
            teacher_score = teacher_score if failure.comes_after(Stage.SCORE_REFINED) else None
        return Row(state, student_score, teacher_score, source, self.errors.get(number))

    # ---- after a completion

    def _finished(self, call: Call, scores: Sequence[float]) -> None:
        stage, rows = call.stage, call.row_set
        self.outputs.add(call)
        self._stages[stage].ahead &= ~rows
        if scored_by := STAGES[stage].scored_by:
            # A drawing that is made again, because its outputs were lost, has its scores.
            self._issue_of(call, scored_by, rows)
        elif stage is Stage.SCORE_DRAWN:
            self._judge_drawn(call, self._scored(call, self._best_of(call, scores)))
        elif stage is Stage.SCORE_REFINED:
            self._judge_refined(call, self._scored(call, scores))
        elif stage is Stage.COMMIT:
            self.done = True
            self._out += self.outputs.release_all()
        if self._parked:
            self._unpark()

    def _best_of(self, call: Call, scores: Sequence[float]) -> Sequence[float]:
        """The best score of each row's drawings; the cascade remembers which drawing it is."""
        draws = self.rules.draws
        if draws == 1:
            return scores
        best = best_draws(scores, draws)
        for row, which in zip(call.rows, best, strict=True):
            self._best_draw[row] = which
        return [scores[place * draws + which] for place, which in enumerate(best)]

    def _scored(self, call: Call, scores: Sequence[float]) -> Scores:
        """The scores of the rows that have not failed meanwhile; a row without a score fails."""
        scored = list(zip(call.rows, scores, strict=True))
        if call.row_set & self._failed or not all(map(isfinite, scores)):
            scored = [(row, score) for row, score in scored if not self._failed >> row & 1]
            for row, score in scored:
                if not isfinite(score):
                    self._fail(row, call.stage, f"the oracle gave {score}, which is no score")
            scored = [(row, score) for row, score in scored if isfinite(score)]
        return scored

    def _judge_drawn(self, call: Call, scored: Scores) -> None:
        rules, stages = self.rules, self._stages
        for row, score in scored:
            self._student_scores[row] = score
        threshold = rules.threshold
        rejected = row_set([row for row, score in scored if score < threshold])
        accepted = call.row_set & ~rejected & ~self._failed
        self._waiting &= ~call.row_set
        self._judged |= accepted | rejected
        self._below |= rejected
        for stage, info in STAGES.items():
            if info.rejected_only:
                stages[stage].ahead &= ~accepted
        if rules.keep == "teacher" and not rules.save_student:
            stages[Stage.ENCODE_DRAWN].ahead &= ~rejected
        encode = accepted | rejected if rules.save_student else accepted
        self._issue_of(call, Stage.ENCODE_DRAWN, encode)

    def _judge_refined(self, call: Call, scored: Scores) -> None:
        for row, score in scored:
            self._teacher_scores[row] = score
        judged = row_set([row for row, _ in scored])
        student: RowSet = 0
        if self.rules.keep == "best":
            before = self._student_scores
            student = row_set([row for row, score in scored if before[row] > score])  # type: ignore[operator]
        self._refined |= judged
        self._student_is_better |= student
        for rows, wanted, unwanted in (
            (student, Stage.ENCODE_DRAWN, Stage.ENCODE_REFINED),
            (judged & ~student, Stage.ENCODE_REFINED, Stage.ENCODE_DRAWN),
        ):
            self._stages[unwanted].ahead &= ~rows | self._stages[unwanted].active
            self._issue_of(call, wanted, rows)

    def _keep_drawn(self, rows: RowSet) -> None:
        """The teacher can make no picture of these rows: each keeps the student's.

        By that rule and not by timing: the teacher's result depends on the row alone. Pictures that
        were released are drawn again, by the call that drew them.
        """
        rows &= ~self._failed & ~self._unrefinable
        if not rows:
            return
        self._unrefinable |= rows
        for stage in (Stage.SCORE_REFINED, Stage.ENCODE_REFINED):
            self._stages[stage].ahead &= ~rows
        encoding = self._stages[Stage.ENCODE_DRAWN]
        # With `save_student` the student's picture has been encoded, or is on its way.
        rows &= ~self.outputs.made_rows(Stage.ENCODE_DRAWN) & ~encoding.active
        rows &= ~row_set(sorted(self._undecided))
        encoding.ahead |= rows
        self._issue(Stage.ENCODE_DRAWN, members_among(rows, range(self.num_rows)), rows)

    def _failed_once(self, call: Call, event: Failed) -> None:
        self._failures[call] = self._failures.get(call, 0) + 1
        if event.blame or self._failures[call] > MAX_BLAMELESS_FAILURES:
            self._attempts[call] = self._attempts.get(call, 0) + 1
        if self._attempts.get(call, 0) < self.rules.max_attempts:
            self._issue(call.stage, call.rows, call.row_set)
        elif call.stage is Stage.COMMIT:
            self._out.append(Abandon(event.reason))
        elif len(call.rows) > 1:
            middle = len(call.rows) // 2
            for half in (call.rows[:middle], call.rows[middle:]):
                self._issue(call.stage, half, row_set(half))
        else:
            self._fail(call.rows[0], call.stage, event.reason)
            self._unpark()

    def _fail(self, row: int, stage: Stage, reason: str, ran: bool = False) -> None:
        """The row fails in `stage`: now, or once the stages before are decided.

        ran: whether the stage ran through, and left nothing that the row can use.
        """
        failure = _RowFailure(stage, reason, ran)
        self._stages[stage].ahead &= ~(1 << row)
        self._fail_if_decided(row, failure)

    def _fail_if_decided(self, row: int, failure: _RowFailure) -> None:
        ahead = (stage for stage, rows in self._stages.items() if rows.ahead >> row & 1)
        if any(map(failure.comes_after, ahead)):
            self._undecided[row] = failure
            return
        self._undecided.pop(row, None)
        if self._failed >> row & 1:
            return
        self._failed_in[row] = failure
        self.errors[row] = f"{failure.stage}: {failure.reason}"
        self._failed |= 1 << row
        self._waiting &= ~self._failed
        for rows in self._stages.values():
            rows.ahead &= ~self._failed

    def _advance(self) -> None:
        """Send the teacher the batches that are certain; commit when every row has all it needs."""
        if self._waiting >> self._seen_rows & 1:
            return  # nothing new
        first_waiting = lowest(self._waiting) if self._waiting else self.num_rows
        if first_waiting > self._seen_rows:
            # By its score, not its state: a rejected row that has failed since still has its
            # place in the teacher's batch, or batches would depend on when it failed.
            self._for_teacher += members_among(self._below, range(self._seen_rows, first_waiting))
            self._seen_rows = first_waiting
        at_end = first_waiting == self.num_rows
        size = self.rules.teacher_batch
        while len(self._for_teacher) >= size or (at_end and self._for_teacher):
            batch = tuple(self._for_teacher[:size])
            del self._for_teacher[:size]
            self._issue_batch(Stage.REFINE, batch)
        busy = self._running or self._parked
        if at_end and not busy and not self.done and not self._anything_ahead():
            everything = tuple(range(self.num_rows))
            self._issue(Stage.COMMIT, everything, row_set(everything))

    def _anything_ahead(self) -> bool:
        return any(rows.ahead for rows in self._stages.values())

    # ---- calls and their inputs

    def _issue_of(self, call: Call, stage: Stage, rows: RowSet) -> None:
        """Issue `stage` for those `rows` of `call` that may still need it."""
        rows &= self._stages[stage].ahead & ~self._stages[stage].active
        if rows:
            whole = rows == call.row_set
            self._issue(stage, call.rows if whole else members_among(rows, call.rows), rows)

    def _issue_batch(self, stage: Stage, rows: tuple[int, ...]) -> None:
        """Issue `stage` for a new batch: its rows get their slots, for good."""
        slots = self._slots[stage]
        for slot, row in enumerate(rows):
            slots[row] = slot
        self._issue(stage, rows, row_set(rows))

    def _slots_in(self, stage: Stage, rows: tuple[int, ...]) -> tuple[int, ...] | None:
        """The slots of the rows of a call, which are ascending; None if they are 0, 1 and on."""
        batch = STAGES[stage].slots_of
        if batch is None or self._slots[batch][rows[-1]] == len(rows) - 1:
            return None
        slots = self._slots[batch]
        return tuple([slots[row] for row in rows])

    def _issue(self, stage: Stage, rows: tuple[int, ...], members: RowSet) -> None:
        """Issue a call: now, or once its lost inputs are there again.

        members: the set of `rows`.
        """
        if members & self._failed and stage is not Stage.COMMIT:
            members &= ~self._failed
            rows = members_among(members, rows)
        if not rows and stage is not Stage.COMMIT:
            return
        sources = self.outputs.sources(stage, members, self._failed)
        call = Call(stage, rows, sources, members, self._slots_in(stage, rows))
        self._stages[stage].active |= members
        missing = self.outputs.missing(call)
        if not missing:
            self._running.add(call)
            self._out.append(call)
            return
        self._parked.append(call)
        for producer in missing:
            if not self._stages[producer.stage].active & producer.row_set:
                self._issue(producer.stage, producer.rows, producer.row_set)

    def _unpark(self) -> None:
        """Send the parked calls whose inputs are there again; forget rows that failed meanwhile."""
        parked, self._parked = self._parked, []
        for call in parked:
            self._stages[call.stage].active &= ~call.row_set
            self._issue(call.stage, call.rows, call.row_set)

    def _release(self, call: Call) -> None:
        """Release the outputs that no row of `call` can ask for any more, whoever made them."""
        if self.done:
            return
        for stage in PICTURE_STAGES:
            for made in self.outputs.makers(stage, call.row_set):
                for output in STAGES[stage].outputs:
                    if self.outputs.is_held(made.call, output) and not self._asked_for(
                        made, output
                    ):
                        self._out.append(self.outputs.release(made.call, output))

    def _asked_for(self, made: Made, output: OutputKind) -> bool:
        for stage in self.outputs.takers(made.call.stage, output):
            if made.rows & (self._stages[stage].ahead | self._stages[stage].active):
                return True
        return False

    def _take_instructions(self) -> list[Instruction]:
        taken, self._out = self._out, []
        return taken
