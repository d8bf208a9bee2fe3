"""One part's way through the pools: events in, calls out.

Pure: no Ray, no torch, no clock, no files. The runner carries the calls out on Ray; tests carry
them out in every order, with faults.

    DRAW ──> SCORE_DRAWN ──> accepted ─────────────────────────> ENCODE_DRAWN ───┐
                   └──> rejected ──> REFINE ──> SCORE_REFINED ──> ENCODE_REFINED ┴──> COMMIT

What a batch holds is a function of the part, never of timing (DESIGN.md, section 1):

- the student's batches are consecutive rows;
- the teacher's are the rejected rows in row order, cut every `teacher_batch`; one is sent as soon
  as every row before its last is known to be accepted, rejected or failed.

With `draws` the student draws each row several times, and the best scored drawing is the row's from
then on: the threshold, the teacher and the dataset see no other.

A call is known by its stage and its rows, so that a repeated call is the same call. A call that
fails is repeated, then halved until the row that breaks it stands alone; that row fails, its
neighbours do not. An output that was lost is made again, by the same call, with the same bytes.

A job has millions of rows and one driver. So what is known of rows is kept in sets that are bits of
an integer (`RowSet`): a batch is joined, cut and looked up whole, however many rows it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Literal

from jobs.execution.calls import (
    OUTPUTS,
    Abandon,
    Call,
    Event,
    Failed,
    Instruction,
    Lost,
    Output,
    Release,
    RowSet,
    Stage,
    row_set,
)
from jobs.rules import Rules

Scores = Sequence[tuple[int, float]]
"""Rows with their scores."""

MAX_BLAMELESS_FAILURES = 100
"""A call that failed so often without blame is blamed after all: nothing is tried for ever."""


class State(StrEnum):
    """What is known of a row."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    KEPT = "kept"
    """As it is in the part that is there: a retry draws the other rows."""


Source = Literal["student", "teacher"]
"""Whose picture a row has."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a row of the part; the committed columns come from here."""

    state: State
    student_score: float | None
    teacher_score: float | None
    source: Source | None
    error: str | None


def best_draws(scores: Sequence[float], draws: int) -> list[int]:
    """For each row of a SCORE_DRAWN, which of its drawings scored best; the first of equals.

    What is no score (nan) is best only where nothing else is.
    """
    valued = [score if isfinite(score) else -inf for score in scores]
    return [
        max(range(draws), key=valued[first : first + draws].__getitem__)
        for first in range(0, len(scores), draws)
    ]


BETWEEN = tuple(stage for stage in Stage if stage not in (Stage.DRAW, Stage.COMMIT))
TEACHERS = (Stage.REFINE, Stage.SCORE_REFINED, Stage.ENCODE_REFINED)
"""Stages that an accepted row does not need."""

SCORED_BY = {Stage.DRAW: Stage.SCORE_DRAWN, Stage.REFINE: Stage.SCORE_REFINED}

ENCODINGS = (Stage.ENCODE_DRAWN, Stage.ENCODE_REFINED)

INPUT_FROM = {
    Stage.SCORE_DRAWN: Stage.DRAW,
    Stage.ENCODE_DRAWN: Stage.DRAW,
    Stage.REFINE: Stage.DRAW,
    Stage.SCORE_REFINED: Stage.REFINE,
    Stage.ENCODE_REFINED: Stage.REFINE,
}
"""By stage: the stage that makes what it takes. REFINE takes nothing if it draws anew."""


@dataclass(slots=True)
class _Made:
    """A call that is back, and the rows whose output of its stage is still the one it made."""

    call: Call
    rows: RowSet


class Cascade:
    """The state of one part: `start` once, then `handle` each event; both return what to do."""

    def __init__(
        self,
        num_rows: int,
        rules: Rules,
        invalid_rows: dict[int, str] | None = None,
        kept: frozenset[int] = frozenset(),
    ) -> None:
        """`unusable`: rows that cannot be drawn at all (say, an empty prompt), with the reason.

        `kept`: rows that stay as they are in the part that is there.
        """
        self.rules = rules
        self.num_rows = num_rows
        self._input_from = dict(INPUT_FROM)
        if rules.strategy == "regenerate":
            del self._input_from[Stage.REFINE]
        self._input = dict.fromkeys(Stage, Output.PICTURES) | {Stage.COMMIT: Output.FILES}
        if rules.through == "latents":
            self._input[Stage.REFINE] = Output.LATENTS
        self._takers = {
            (maker, output): tuple(
                stage
                for stage, source in self._input_from.items()
                if source is maker and self._input[stage] is output
            )
            for maker, outputs in OUTPUTS.items()
            for output in outputs
        }
        """By stage and output: the stages that take it; but for COMMIT, which takes all files."""
        self.done = False
        self.errors = {row: why for row, why in (invalid_rows or {}).items() if row not in kept}
        """Why the rows failed that did."""
        self._student_scores: list[float | None] = [None] * num_rows
        self._teacher_scores: list[float | None] = [None] * num_rows
        self._kept = row_set(sorted(kept))
        self._failed = row_set(sorted(self.errors))
        self._waiting = row_set(range(num_rows)) & ~self._kept & ~self._failed
        """Rows that have no score yet and may get one."""
        self._best_draw = [0] * num_rows
        """By row, once it is scored: which of its drawings is kept."""
        self._judged: RowSet = 0
        """Rows that have the score of the student's picture."""
        self._below: RowSet = 0
        """Rows that the oracle rejected, whatever became of them."""
        self._refined: RowSet = 0
        """Rows that have the score of the teacher's picture."""
        self._student_is_better: RowSet = 0
        """Refined rows that keep the student's picture."""
        self._ahead: dict[Stage, RowSet] = dict.fromkeys(BETWEEN, self._waiting)
        """By stage between DRAW and COMMIT: the rows that may still need it."""
        self._active: dict[Stage, RowSet] = dict.fromkeys(Stage, 0)
        """By stage: the rows of calls that are running, or wait for their inputs."""
        self._made: dict[Stage, list[_Made | None]] = {
            stage: [None] * num_rows for stage, outputs in OUTPUTS.items() if outputs
        }
        """By stage and row: what made the row's output of that stage."""
        self._made_rows: dict[Stage, RowSet] = dict.fromkeys(self._made, 0)
        """By stage: the rows whose output was made."""
        self._held: dict[Output, set[Call]] = {output: set() for output in Output}
        """The calls whose outputs are to be kept in the object store for now."""
        self._attempts: dict[Call, int] = {}
        self._failures: dict[Call, int] = {}
        self._running: set[Call] = set()
        self._parked: list[Call] = []
        """Calls whose inputs were lost, and are being made again."""
        self._seen_rows = 0
        """Rows before this one are known to be accepted, rejected or failed."""
        self._for_teacher: list[int] = []
        self._out: list[Instruction] = []

    def start(self) -> list[Instruction]:
        """The first calls: every batch of the student."""
        drawable = _those_in(self._waiting, range(self.num_rows))
        for batch in _batches(drawable, self.rules.student_batch):
            self._issue(Stage.DRAW, batch, row_set(batch))
        self._advance()
        return self._take_instructions()

    def handle(self, event: Event) -> list[Instruction]:
        """What follows from `event`. Late and doubled answers change nothing."""
        if isinstance(event, Lost):
            self._held[event.output].discard(event.call)
            return []
        call = event.call
        if call not in self._running:
            return []
        self._running.discard(call)
        self._active[call.stage] &= ~call.row_set
        if isinstance(event, Failed):
            self._failed_once(call, event)
        else:
            if self._failures:
                self._attempts.pop(call, None)
                self._failures.pop(call, None)
            for row, reason in event.permanent_failures:
                self._fail(row, call.stage, reason)
            self._finished(call, event.scores)
        self._advance()
        self._release(call)
        return self._take_instructions()

    # ---- what is known

    @property
    def rows(self) -> list[Row]:
        """What is known of each row now."""
        return [self._row(number) for number in range(self.num_rows)]

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
    def num_failed(self) -> int:
        """Rows that failed so far."""
        return self._failed.bit_count()

    @property
    def held(self) -> frozenset[tuple[Call, Output]]:
        """The outputs that are to be kept in the object store for now."""
        return frozenset((call, output) for output, calls in self._held.items() for call in calls)

    def made_by(self, stage: Stage, row: int) -> Call:
        """The call that made the row's output of `stage`."""
        made = self._made[stage][row]
        assert made is not None
        return made.call

    def was_made(self, stage: Stage, row: int) -> bool:
        """Whether the row's output of `stage` was ever made."""
        return self._made[stage][row] is not None

    def places(self, call: Call, row: int, place: int) -> range:
        """Where a row that is number `place` of a source of `call` is in the source's output.

        Of several drawings the oracle gets all, and what follows gets the best.
        """
        draws = self.rules.draws
        if draws == 1 or self._input_from.get(call.stage) is not Stage.DRAW:
            return range(place, place + 1)
        first = place * draws
        if call.stage is Stage.SCORE_DRAWN:
            return range(first, first + draws)
        best = first + self._best_draw[row]
        return range(best, best + 1)

    def input_of(self, stage: Stage) -> Output:
        """Which output of its sources a stage takes."""
        return self._input[stage]

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
        return Row(
            state,
            self._student_scores[number],
            self._teacher_scores[number],
            source,
            self.errors.get(number),
        )

    # ---- what follows from an answer

    def _finished(self, call: Call, scores: Sequence[float]) -> None:
        stage, rows = call.stage, call.row_set
        if stage in self._made:
            self._note_made(call)
        if stage in self._ahead:
            self._ahead[stage] &= ~rows
        if stage in SCORED_BY:
            # A drawing that is made again, because its outputs were lost, has its scores.
            self._issue_of(call, SCORED_BY[stage], rows)
        elif stage is Stage.SCORE_DRAWN:
            self._judge_drawn(call, self._scored(call, self._best_of(call, scores)))
        elif stage is Stage.SCORE_REFINED:
            self._judge_refined(call, self._scored(call, scores))
        elif stage is Stage.COMMIT:
            self.done = True
            for output, calls in self._held.items():
                self._out += [Release(held, output) for held in calls]
                calls.clear()
        if self._parked:
            self._unpark()

    def _note_made(self, call: Call) -> None:
        for output in OUTPUTS[call.stage]:
            self._held[output].add(call)
        makers = self._made[call.stage]
        if self._made_rows[call.stage] & call.row_set:
            for row in call.rows:
                if before := makers[row]:
                    before.rows &= ~(1 << row)
        self._made_rows[call.stage] |= call.row_set
        made = _Made(call, call.row_set)
        for row in call.rows:
            makers[row] = made

    def _best_of(self, call: Call, scores: Sequence[float]) -> Sequence[float]:
        """Of each row's drawings the best score; which it is of is kept in mind."""
        draws = self.rules.draws
        if draws == 1:
            return scores
        best = best_draws(scores, draws)
        for row, which in zip(call.rows, best, strict=True):
            self._best_draw[row] = which
        return [scores[place * draws + which] for place, which in enumerate(best)]

    def _scored(self, call: Call, scores: Sequence[float]) -> Scores:
        """The scores of the rows that have not failed meanwhile; what is no score fails its row."""
        scored = list(zip(call.rows, scores, strict=True))
        if call.row_set & self._failed or not all(map(isfinite, scores)):
            scored = [(row, score) for row, score in scored if not self._failed >> row & 1]
            for row, score in scored:
                if not isfinite(score):
                    self._fail(row, call.stage, f"the oracle gave {score}, which is no score")
            scored = [(row, score) for row, score in scored if isfinite(score)]
        return scored

    def _judge_drawn(self, call: Call, scored: Scores) -> None:
        rules, ahead = self.rules, self._ahead
        for row, score in scored:
            self._student_scores[row] = score
        threshold = rules.threshold
        rejected = row_set([row for row, score in scored if score < threshold])
        accepted = call.row_set & ~rejected & ~self._failed
        self._waiting &= ~call.row_set
        self._judged |= accepted | rejected
        self._below |= rejected
        for stage in TEACHERS:
            ahead[stage] &= ~accepted
        if rules.keep == "teacher" and not rules.save_student:
            ahead[Stage.ENCODE_DRAWN] &= ~rejected
        encode = accepted | rejected if rules.save_student else accepted
        self._issue_of(call, Stage.ENCODE_DRAWN, encode)

    def _judge_refined(self, call: Call, scored: Scores) -> None:
        ahead, active = self._ahead, self._active
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
            ahead[unwanted] &= ~rows | active[unwanted]
            self._issue_of(call, wanted, rows)

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

    def _fail(self, row: int, stage: Stage, reason: str) -> None:
        self.errors[row] = f"{stage}: {reason}"
        self._failed |= 1 << row
        self._waiting &= ~self._failed
        for between in self._ahead:
            self._ahead[between] &= ~self._failed

    def _advance(self) -> None:
        """Send the teacher what is certain, and commit when every row has what it needs."""
        if self._waiting >> self._seen_rows & 1:
            return  # nothing new
        first_waiting = _lowest(self._waiting) if self._waiting else self.num_rows
        if first_waiting > self._seen_rows:
            # By its score, not its state: a rejected row that has failed since still has its
            # place in the teacher's batch, or batches would depend on when it failed.
            self._for_teacher += _those_in(self._below, range(self._seen_rows, first_waiting))
            self._seen_rows = first_waiting
        at_end = first_waiting == self.num_rows
        size = self.rules.teacher_batch
        while len(self._for_teacher) >= size or (at_end and self._for_teacher):
            batch = tuple(self._for_teacher[:size])
            del self._for_teacher[:size]
            self._issue(Stage.REFINE, batch, row_set(batch))
        busy = self._running or self._parked
        if at_end and not busy and not self.done and not any(self._ahead.values()):
            everything = tuple(range(self.num_rows))
            self._issue(Stage.COMMIT, everything, row_set(everything))

    # ---- calls and what they take

    def _issue_of(self, call: Call, stage: Stage, rows: RowSet) -> None:
        """Have `stage` done for those `rows` of `call` that may still need it."""
        rows &= self._ahead[stage] & ~self._active[stage]
        if rows:
            whole = rows == call.row_set
            self._issue(stage, call.rows if whole else _those_in(rows, call.rows), rows)

    def _issue(self, stage: Stage, rows: tuple[int, ...], members: RowSet) -> None:
        """Have a call made: now, or once its lost inputs are there again.

        members: the set of `rows`.
        """
        if members & self._failed and stage is not Stage.COMMIT:
            members &= ~self._failed
            rows = _those_in(members, rows)
        if not rows and stage is not Stage.COMMIT:
            return
        call = Call(stage, rows, self._sources(stage, members), members)
        self._active[stage] |= members
        held = self._held[self._input[stage]]
        missing = [source for source in call.sources if source not in held]
        if not missing:
            self._running.add(call)
            self._out.append(call)
            return
        self._parked.append(call)
        for producer in missing:
            if not self._active[producer.stage] & producer.row_set:
                self._issue(producer.stage, producer.rows, producer.row_set)

    def _sources(self, stage: Stage, rows: RowSet) -> tuple[Call, ...]:
        if stage is Stage.COMMIT:
            good = rows & ~self._failed
            encoded = [m for s in ENCODINGS for m in self._makers(s, good)]
            encoded.sort(key=lambda made: _lowest(made.rows & good))
            return tuple(made.call for made in encoded)
        made_in = self._input_from.get(stage)
        return tuple([made.call for made in self._makers(made_in, rows)]) if made_in else ()

    def _makers(self, stage: Stage, rows: RowSet) -> list[_Made]:
        """What made the rows' outputs of `stage`, where they were made."""
        rows &= self._made_rows[stage]
        makers = []
        while rows:
            maker = self._made[stage][_lowest(rows)]
            assert maker is not None
            makers.append(maker)
            rows &= ~maker.rows
        return makers

    def _unpark(self) -> None:
        """Send the parked calls whose inputs are there again; forget rows that failed meanwhile."""
        parked, self._parked = self._parked, []
        for call in parked:
            self._active[call.stage] &= ~call.row_set
            self._issue(call.stage, call.rows, call.row_set)

    def _release(self, call: Call) -> None:
        """Release what no row of `call` can ask for any more, from whoever made it."""
        if self.done:
            return
        for stage in SCORED_BY:
            for made in self._makers(stage, call.row_set):
                for output in OUTPUTS[stage]:
                    if made.call in self._held[output] and not self._asked_for(made, output):
                        self._held[output].discard(made.call)
                        self._out.append(Release(made.call, output))

    def _asked_for(self, made: _Made, output: Output) -> bool:
        ahead, active = self._ahead, self._active
        for stage in self._takers[made.call.stage, output]:
            if made.rows & (ahead[stage] | active[stage]):
                return True
        return False

    def _take_instructions(self) -> list[Instruction]:
        taken, self._out = self._out, []
        return taken


def _batches(rows: Sequence[int], size: int) -> Iterable[tuple[int, ...]]:
    for first in range(0, len(rows), size):
        yield tuple(rows[first : first + size])


def _lowest(rows: RowSet) -> int:
    return (rows & -rows).bit_length() - 1


def _those_in(members: RowSet, rows: Sequence[int]) -> tuple[int, ...]:
    """Those of `rows`, ascending, that are in the set."""
    if not rows:
        return ()
    first, span = rows[0], rows[-1] - rows[0] + 1
    near = members >> first & (1 << span) - 1  # short, and so quick to look at
    if near.bit_count() == len(rows) == span:
        return tuple(rows)
    return tuple([row for row in rows if near >> row - first & 1])
