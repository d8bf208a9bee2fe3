"""One part's way through the pools: events in, calls out.

Pure: no Ray, no torch, no clock, no files. The runner carries the calls out on Ray; tests carry
them out in every order, with faults.

    DRAW ──> SCORE_DRAWN ──> it passes ────────────────────────────────┬──> ENCODE ──> COMMIT
                  └──> below the next rung's threshold ──> that rung:  │
                             DRAW, SCORE_DRAWN, or                     │
                             REFINE, SCORE_REFINED ──> it passes ──────┘
                                          └──> below the next rung's threshold ──> ...

The rows of a batch follow from the part, never from timing (DESIGN.md, section 1):

- the first drawing's batches are consecutive rows;
- those of every further rung are the rows that take it, in row order, cut to its fixed shape; one
  is sent as soon as every row before its last is known to take the rung or not;
- rows that are drawn in another size or with other guidance share no batch: each of the `Groups`
  has batches of its own, by the same rules;
- a row keeps its slot, its place in its batch, when only a piece of the batch is computed.

With `draws` the first drawing makes several pictures of each row, and the best scored one is the
row's from then on: the ladder and the dataset see no other.

A call is known by its step and its rows, so that a repeated call is the same call. The cascade
repeats a call that failed, then halves it until the row that breaks it stands alone; that row
fails, its neighbours do not. The same call makes an output again that was lost, with the same
bytes.

A row may fail in two steps, as its encoding with `save_student` runs beside the teacher. It fails
once the steps before the one that failed are decided, so that its reason, its scores and its
evaluations do not depend on which failed first.

A further attempt that makes no picture fails no row: the row keeps the picture that it has, which
is made again where it was released, and climbs on.

The table of stages is in `stages`, the rows on the ladder in `part_rows`, and `outputs` keeps which
call made which row's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from jobs.execution.calls import Abandon, Call, Event, Failed, Instruction, Lost
from jobs.execution.outputs import Made, PartOutputs, attempts_of
from jobs.execution.part_rows import ALL_ALIKE, Groups, PartRows, Scores
from jobs.execution.row_set import RowSet, batches, members_among, row_set
from jobs.execution.row_state import Row, Source, State, best_draws
from jobs.execution.stages import FILE_POOL, STAGES, OutputKind, Stage, Step
from jobs.rules import Rules
from jobs.spec.climb import climb

MAX_BLAMELESS_FAILURES = 100
"""From the 101st on, a call's failures count although nobody blames it: an upper bound on retries
without blame. Far above what a cluster that loses nodes comes to, so it ends only endless loops."""

COMMIT = Step(Stage.COMMIT)


@dataclass(slots=True)
class _StepRows:
    """The rows of one step.

    `ahead`: rows that may still need it; the first DRAW and COMMIT are needed by all and keep none.
    `active`: rows of calls that are running, or wait for their inputs.
    """

    ahead: RowSet = 0
    active: RowSet = 0


@dataclass(frozen=True, slots=True)
class _RowFailure:
    """`place`: of the step in their order. `ran`: whether it ran through, and left nothing that the
    row can use."""

    step: Step
    place: int
    reason: str
    ran: bool


class Cascade:
    """The state of one part: `start` once, then `handle` each event; both return what to do."""

    def __init__(
        self,
        num_rows: int,
        rules: Rules,
        invalid_rows: dict[int, str] | None = None,
        kept: frozenset[int] = frozenset(),
        *,
        groups: Groups = ALL_ALIKE,
    ) -> None:
        """`invalid_rows`: rows that cannot be drawn (say, an empty prompt), with the reason.

        `kept`: rows that stay as they are in the part on disk. `groups`: rows that may be drawn
        together.
        """
        self.groups = groups
        self.rules = rules
        self.num_rows = num_rows
        self.outputs = PartOutputs(num_rows, rules)
        self.done = False
        self.errors = {row: why for row, why in (invalid_rows or {}).items() if row not in kept}
        """By row that failed: the reason."""
        self._best_draw = [0] * num_rows
        """By row, once it is scored: which picture of the first drawing is kept."""
        self.kept = kept
        self._kept = row_set(sorted(kept))
        self._failed = row_set(sorted(self.errors))
        self._failed_in: dict[int, _RowFailure] = {}
        """By row that failed in a step."""
        self._undecided: dict[int, _RowFailure] = {}
        """By row that will fail, once the steps before the one that failed are decided."""
        waiting = row_set(range(num_rows)) & ~self._kept & ~self._failed
        self._rows = PartRows(num_rows, rules, waiting, groups)
        self._attempts = attempts_of(rules.ladder)
        """By rung: the steps that make, score and encode its picture."""
        self._rung_of = {step: n for n, steps in enumerate(self._attempts) for step in steps}
        first = self._attempts[0][0]
        self._steps = {
            step: _StepRows(0 if step in (first, COMMIT) else waiting)
            for step in self.outputs.steps
        }
        self._place = {step: place for place, step in enumerate(self.outputs.steps)}
        self._picture_steps = [make for make, _, _ in self._attempts]
        self._running: set[Call] = set()
        self._parked: list[Call] = []
        """Calls whose inputs were lost, and are being made again."""
        self._blamed: dict[Call, int] = {}
        self._failures: dict[Call, int] = {}
        self._slots = {step: [0] * num_rows for step in self._picture_steps}
        """By row, once its batch is cut: its slot there."""
        self._out: list[Instruction] = []

    def start(self) -> list[Instruction]:
        """The first calls: every batch of the student."""
        for group in self.groups.student or (self._rows.waiting,):
            drawable = members_among(self._rows.waiting & group, range(self.num_rows))
            for batch in batches(drawable, self.rules.student_batch):
                self._issue_batch(self._picture_steps[0], batch)
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
        self._steps[call.step].active &= ~call.row_set
        if isinstance(event, Failed):
            self._failed_once(call, event)
        else:
            if self._failures:
                self._blamed.pop(call, None)
                self._failures.pop(call, None)
            if event.permanent_failures:
                self._made_nothing(call, event.permanent_failures)
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
        return not self._rows.waiting and not any(
            rows.ahead | rows.active
            for step, rows in self._steps.items()
            if STAGES[step.stage].pool != FILE_POOL
        )

    @property
    def num_waiting(self) -> int:
        """Rows that have no score yet and may get one."""
        return self._rows.waiting.bit_count()

    @property
    def num_unbatched(self) -> int:
        """Rows that a teacher will get, in no batch yet: it waits for rows before or after them."""
        return self._rows.num_unbatched

    @property
    def num_judged(self) -> int:
        """Rows that have the score of their first drawing."""
        return self._rows.judged.bit_count()

    @property
    def num_rejected(self) -> int:
        """Rows whose first drawing the oracle rejected, without those that failed since."""
        return (self._rows.tried_again & ~self._failed).bit_count()

    @property
    def num_settled_again(self) -> int:
        """Rejected rows that have their picture, without those that failed since."""
        rows = self._rows
        return (rows.tried_again & rows.settled & ~self._failed).bit_count()

    @property
    def num_refined(self) -> int:
        """Rows that have the score of a teacher's picture."""
        return self._rows.by_teacher.bit_count()

    @property
    def num_unrefinable(self) -> int:
        """Rows that keep the student's picture, as the teacher can make none."""
        return (self._rows.unrefinable & ~self._failed).bit_count()

    @property
    def num_failed(self) -> int:
        """Rows that failed so far."""
        return self._failed.bit_count()

    @property
    def num_taken(self) -> list[int]:
        """By rung: rows that took it so far, of the first those that have its score."""
        return [self.num_judged, *(rows.bit_count() for rows in self._rows.takes[1:])]

    @property
    def num_known(self) -> list[int]:
        """By rung: rows that are known to take it or not."""
        return [self.num_judged, *map(self._rows.known, range(1, len(self._attempts)))]

    def made_by(self, step: Step, row: int) -> Call:
        """The call that made the row's output of `step`."""
        maker = self.outputs.maker(step, row)
        assert maker is not None
        return maker

    def encoding_of(self, rung: int) -> Step:
        """The step that encodes the rung's pictures."""
        return self._attempts[rung][2]

    def scoring_of(self, rung: int) -> Step:
        """The step that scores the rung's pictures."""
        return self._attempts[rung][1]

    def picture_of(self, rung: int, row: int) -> int:
        """Which of the rung's pictures of a row it is: the first rung alone may make several."""
        return 0 if rung else self._best_draw[row]

    def spent(self, row: int) -> list[Step]:
        """The steps whose network evaluations the row's result took.

        Of a row that failed: the steps before the one that failed, and that one if it ran through.
        """
        made = [step for step in self._picture_steps if self.outputs.maker(step, row) is not None]
        if failure := self._failed_in.get(row):
            last = failure.place if failure.ran else failure.place - 1
            made = [step for step in made if self._place[step] <= last]
        return made

    def has_drawing(self, attempt: int, row: int) -> bool:
        """Whether the student's `attempt` is the row's drawing."""
        return bool(self._rows.drawing[attempt] >> row & 1)

    def places(self, call: Call, row: int, place: int) -> range:
        """Where a row that is number `place` of a source of `call` is in the source's output.

        Of several pictures of a drawing the oracle gets all, and later stages get the best.
        """
        draws = self.rules.draws
        first = place * draws
        if STAGES[call.stage].scores_each_draw:
            return range(first, first + draws)
        best = first + self._best_draw[row]
        return range(best, best + 1)

    def scores_of(self, number: int) -> list[float | None]:
        """The row's scores by rung; None where it has none."""
        counting = len(self._attempts)
        if failure := self._failed_in.get(number):
            # A score that was there when an output, lost since, could not be made again.
            counting = sum(self._place[score] < failure.place for _, score, _ in self._attempts)
        return self._rows.scores_of(number, counting)

    def _row(self, number: int) -> Row:
        row: RowSet = 1 << number
        rows, at = self._rows, climb(self.rules.ladder, self.scores_of(number))
        state: State = State.ACCEPTED
        source: Source | None = None
        if row & self._kept:
            state = State.KEPT
        elif row & self._failed:
            state = State.FAILED
        elif row & rows.waiting:
            state = State.WAITING
        else:
            state = State.REJECTED if row & rows.tried_again else State.ACCEPTED
            if row & rows.settled and at.has is not None:
                source = "teacher" if self.rules.ladder[at.has].by_teacher else "student"
        return Row(
            state=state,
            student_score=at.student_score,
            teacher_score=at.teacher_score,
            source=source,
            error=self.errors.get(number),
            at=at,
        )

    # ---- after a completion

    def _finished(self, call: Call, scores: Sequence[float]) -> None:
        step, rows = call.step, call.row_set
        self.outputs.add(call)
        self._steps[step].ahead &= ~rows
        if STAGES[step.stage].scored_by:
            # A picture that is made again, because its outputs were lost, has its score.
            self._issue_of(call, self._attempts[self._rung_of[step]][1], rows)
        elif STAGES[step.stage].gives_scores:
            self._judge(call, scores)
        elif step == COMMIT:
            self.done = True
            self._out += self.outputs.release_all()
        if self._parked:
            self._unpark()

    def _best_of(self, call: Call, scores: Sequence[float]) -> Sequence[float]:
        """The best score of each row's pictures; the cascade remembers which picture it is."""
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
                    self._fail(row, call.step, f"the oracle gave {score}, which is no score")
            scored = [(row, score) for row, score in scored if isfinite(score)]
        return scored

    def _judge(self, call: Call, scores: Sequence[float]) -> None:
        number = self._rung_of[call.step]
        if number == 0:
            scores = self._best_of(call, scores)
        scored = self._scored(call, scores)
        if number == 0:
            self._rows.waiting &= ~call.row_set
        for which, lost in self._rows.score(number, scored):
            self._not_encoded(which, lost)
        self._climb_on(call, number, row_set([row for row, _ in scored]))

    def _climb_on(self, call: Call, number: int, rows: RowSet) -> None:
        """Rows of `call` are through with a rung: each takes the next that it scores too low for,
        or has its picture."""
        ladder, save_student = self.rules.ladder, self.rules.save_student
        for above in range(number + 1, len(ladder)):
            if not rows:
                return
            takes = self._rows.take(above, rows, call.rows)
            rows &= ~takes
            for step in self._attempts[above]:
                self._steps[step].ahead &= ~rows
            if not takes or not ladder[above].by_teacher:
                continue
            for which, having in enumerate(self._rows.has):
                if having & takes and (ladder[which].by_teacher or not save_student):
                    if ladder[above].keep == "teacher":
                        self._not_encoded(which, having & takes)
                elif having & takes:
                    self._issue_of(call, self.encoding_of(which), having & takes)
        self._rows.settled |= rows
        for which, having in enumerate(self._rows.has):
            if having & rows:
                self._encode(call, which, having & rows)

    def _not_encoded(self, number: int, rows: RowSet) -> None:
        """No file is needed of a rung's pictures, unless it is on its way."""
        encoding = self._steps[self.encoding_of(number)]
        encoding.ahead &= ~rows | encoding.active

    def _encode(self, call: Call, number: int, rows: RowSet) -> None:
        """Rows have a rung's picture for good. With `save_student` it may have been encoded."""
        step = self.encoding_of(number)
        encoding = self._steps[step]
        rows &= ~self.outputs.made_rows(step) & ~encoding.active & ~self._failed
        if self._undecided:
            rows &= ~row_set(sorted(self._undecided))
        encoding.ahead |= rows
        self._issue_of(call, step, rows)

    def _made_nothing(self, call: Call, failures: Sequence[tuple[int, str]]) -> None:
        """A call ran through and made no picture of some rows. Of a first drawing they fail.

        Of a further attempt each keeps the picture that it has, and climbs on. By that rule and not
        by timing: what the attempt makes depends on the row alone. Pictures that were released are
        made again, by the call that made them.
        """
        number = self._rung_of.get(call.step, 0)
        if number == 0 or not STAGES[call.stage].scored_by:
            for row, reason in failures:
                self._fail(row, call.step, reason, ran=True)
            return
        rows = row_set([row for row, _ in failures]) & ~self._failed & ~self._rows.unmade[number]
        if not rows:
            return
        self._rows.unmade[number] |= rows
        for step in self._attempts[number]:
            self._steps[step].ahead &= ~rows
        self._climb_on(call, number, rows)

    def _failed_once(self, call: Call, event: Failed) -> None:
        self._failures[call] = self._failures.get(call, 0) + 1
        if event.blame or self._failures[call] > MAX_BLAMELESS_FAILURES:
            self._blamed[call] = self._blamed.get(call, 0) + 1
        if self._blamed.get(call, 0) < self.rules.max_attempts:
            self._issue(call.step, call.rows, call.row_set)
        elif call.step == COMMIT:
            self._out.append(Abandon(event.reason))
        elif len(call.rows) > 1:
            middle = len(call.rows) // 2
            for half in (call.rows[:middle], call.rows[middle:]):
                self._issue(call.step, half, row_set(half))
        else:
            self._fail(call.rows[0], call.step, event.reason)
            self._unpark()

    def _fail(self, row: int, step: Step, reason: str, ran: bool = False) -> None:
        """The row fails in `step`: now, or once the steps before are decided.

        ran: whether the step ran through, and left nothing that the row can use.
        """
        failure = _RowFailure(step, self._place[step], reason, ran)
        self._steps[step].ahead &= ~(1 << row)
        self._fail_if_decided(row, failure)

    def _fail_if_decided(self, row: int, failure: _RowFailure) -> None:
        before = self.outputs.steps[: failure.place]
        if any(self._steps[step].ahead >> row & 1 for step in before):
            self._undecided[row] = failure
            return
        self._undecided.pop(row, None)
        if self._failed >> row & 1:
            return
        self._failed_in[row] = failure
        self.errors[row] = f"{failure.step}: {failure.reason}"
        self._failed |= 1 << row
        self._rows.fail(1 << row)
        for rows in self._steps.values():
            rows.ahead &= ~self._failed

    def _advance(self) -> None:
        """Send the batches that are certain; commit when every row has all it needs."""
        for number in range(1, len(self._attempts)):
            for batch in self._rows.batches(number):
                self._issue_batch(self._picture_steps[number], batch)
        busy = self._running or self._parked
        if self._rows.all_determined and not busy and not self.done and not self._anything_ahead():
            everything = tuple(range(self.num_rows))
            self._issue(COMMIT, everything, row_set(everything))

    def _anything_ahead(self) -> bool:
        return any(rows.ahead for rows in self._steps.values())

    # ---- calls and their inputs

    def _issue_of(self, call: Call, step: Step, rows: RowSet) -> None:
        """Issue `step` for those `rows` of `call` that may still need it."""
        rows &= self._steps[step].ahead & ~self._steps[step].active
        if rows:
            whole = rows == call.row_set
            self._issue(step, call.rows if whole else members_among(rows, call.rows), rows)

    def _issue_batch(self, step: Step, rows: tuple[int, ...]) -> None:
        """Issue `step` for a new batch: its rows get their slots, for good."""
        slots = self._slots[step]
        for slot, row in enumerate(rows):
            slots[row] = slot
        self._issue(step, rows, row_set(rows))

    def _slots_in(self, step: Step, rows: tuple[int, ...]) -> tuple[int, ...] | None:
        """The slots of the rows of a call, which are ascending; None if they are 0, 1 and on."""
        batch = STAGES[step.stage].slots_of
        if batch is None:
            return None
        slots = self._slots[Step(batch, step.attempt)]
        if slots[rows[-1]] == len(rows) - 1:
            return None
        return tuple([slots[row] for row in rows])

    def _issue(self, step: Step, rows: tuple[int, ...], members: RowSet) -> None:
        """Issue a call: now, or once its lost inputs are there again.

        members: the set of `rows`.
        """
        if members & self._failed and step != COMMIT:
            members &= ~self._failed
            rows = members_among(members, rows)
        if not rows and step != COMMIT:
            return
        sources = self.outputs.sources(step, members, self._failed, self._rows.drawing)
        slots = self._slots_in(step, rows)
        call = Call(step.stage, rows, sources, members, slots, attempt=step.attempt)
        self._steps[step].active |= members
        missing = self.outputs.missing(call)
        if not missing:
            self._running.add(call)
            self._out.append(call)
            return
        self._parked.append(call)
        for producer in missing:
            if not self._steps[producer.step].active & producer.row_set:
                self._issue(producer.step, producer.rows, producer.row_set)

    def _unpark(self) -> None:
        """Send the parked calls whose inputs are there again; forget rows that failed meanwhile."""
        parked, self._parked = self._parked, []
        for call in parked:
            self._steps[call.step].active &= ~call.row_set
            self._issue(call.step, call.rows, call.row_set)

    def _release(self, call: Call) -> None:
        """Release the outputs that no row of `call` can ask for any more, whoever made them."""
        if self.done:
            return
        for step in self._picture_steps:
            for made in self.outputs.makers(step, call.row_set):
                for output in STAGES[step.stage].outputs:
                    if self.outputs.is_held(made.call, output) and not self._asked_for(
                        made, output
                    ):
                        self._out.append(self.outputs.release(made.call, output))

    def _asked_for(self, made: Made, output: OutputKind) -> bool:
        step = made.call.step
        for taker in self.outputs.takers(step, output):
            rows = made.rows & (self._steps[taker].ahead | self._steps[taker].active)
            if rows and taker.stage is Stage.REFINE:
                rows &= ~self._rows.beaten[self._rung_of[step]]  # it starts from the row's drawing
            if rows:
                return True
        return False

    def _take_instructions(self) -> list[Instruction]:
        taken, self._out = self._out, []
        return taken
