"""One part's way through the pools: events in, calls out.

Pure: no Ray, no torch, no clock, no files. The runner carries the calls out on Ray; tests carry
them out in every order, with faults.

    DRAW ──> SCORE_DRAWN ──> accepted ─────────────────────────> ENCODE_DRAWN ───┐
                   └──> rejected ──> REFINE ──> SCORE_REFINED ──> ENCODE_REFINED ┴──> COMMIT

What a batch holds is a function of the part, never of timing (DESIGN.md, section 1):

- the student's batches are consecutive rows;
- the teacher's are the rejected rows in row order, cut every `teacher_batch`; one is sent as soon
  as every row before its last is known to be accepted, rejected or failed.

A call is known by its stage and its rows, so that a repeated call is the same call. A call that
fails is repeated, then halved until the row that breaks it stands alone; that row fails, its
neighbours do not. An output that was lost is made again, by the same call, with the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from typing import Literal


class Stage(StrEnum):
    """What a call does."""

    DRAW = "draw"
    SCORE_DRAWN = "score drawn"
    REFINE = "refine"
    SCORE_REFINED = "score refined"
    ENCODE_DRAWN = "encode drawn"
    ENCODE_REFINED = "encode refined"
    COMMIT = "commit"


class Output(StrEnum):
    """What a call leaves in the object store: pictures and latents, or encoded files."""

    LATENTS = "latents"
    PICTURES = "pictures"
    FILES = "files"


OUTPUTS: dict[Stage, tuple[Output, ...]] = {
    Stage.DRAW: (Output.LATENTS, Output.PICTURES),
    Stage.REFINE: (Output.PICTURES,),
    Stage.ENCODE_DRAWN: (Output.FILES,),
    Stage.ENCODE_REFINED: (Output.FILES,),
}


@dataclass(frozen=True, slots=True)
class Call:
    """Do `stage` for `rows` (numbers within the part).

    `sources`: for each row, the call whose output it takes; empty where a stage takes none. For
    COMMIT, every call that encoded a picture of the part.
    """

    stage: Stage
    rows: tuple[int, ...]
    sources: tuple[Call, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.stage} of {len(self.rows)} rows from {self.rows[0] if self.rows else 0}"


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing will ask for this output of `call` any more: drop its reference."""

    call: Call
    output: Output


@dataclass(frozen=True, slots=True)
class Abandon:
    """The part cannot be committed, and so the job cannot end well."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """`call` came back. The oracle's calls bring `scores`, one a row."""

    call: Call
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """`call` raised, or its actor died.

    `blame`: whether the call itself may be at fault. A call that only waited on an actor that died
    is repeated without being counted.
    """

    call: Call
    reason: str
    blame: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """`output` of `call` is gone from the object store: its node died."""

    call: Call
    output: Output


Event = Done | Failed | Lost
Instruction = Call | Release | Abandon


MAX_UNLUCKY = 100
"""A call that failed so often without blame is blamed after all: nothing is tried for ever."""


class State(StrEnum):
    """What is known of a row."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    KEPT = "kept"
    """As it is in the part that is there: a retry draws the other rows."""


@dataclass(slots=True)
class Row:
    """A row of the part; the committed columns come from here."""

    state: State = State.WAITING
    student_score: float | None = None
    teacher_score: float | None = None
    source: Literal["student", "teacher"] | None = None
    error: str | None = None
    ahead: set[Stage] = field(default_factory=set)
    """Stages between DRAW and COMMIT that this row may still need."""
    active: set[Stage] = field(default_factory=set)
    """Stages for which a call with this row is running, or waits for its inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decides, for the whole job: fixed before the first part starts."""

    threshold: float
    student_batch: int
    teacher_batch: int
    strategy: Literal["refine", "regenerate"] = "refine"
    through: Literal["latents", "pixels"] = "latents"
    keep: Literal["teacher", "best"] = "teacher"
    save_student: bool = False
    max_attempts: int = 3
    """Times that a call may fail before it is halved, or its only row given up."""


class Cascade:
    """The state of one part: `start` once, then `handle` each event; both return what to do."""

    def __init__(
        self,
        num_rows: int,
        rules: Rules,
        unusable: dict[int, str] | None = None,
        kept: frozenset[int] = frozenset(),
    ) -> None:
        """`unusable`: rows that cannot be drawn at all (say, an empty prompt), with the reason.

        `kept`: rows that stay as they are in the part that is there.
        """
        self.rules = rules
        self.rows = [Row() for _ in range(num_rows)]
        self.done = False
        self._attempts: dict[Call, int] = {}
        self._failures: dict[Call, int] = {}
        self._running: set[Call] = set()
        self._parked: list[Call] = []
        """Calls whose inputs were lost, and are being made again."""
        self._held: set[tuple[Call, Output]] = set()
        self._made: dict[tuple[Stage, int], Call] = {}
        """By (stage, row): the call that made the row's output of that stage."""
        self._seen_rows = 0
        """Rows before this one are known to be accepted, rejected or failed."""
        self._for_teacher: list[int] = []
        self._out: list[Instruction] = []
        for number, row in enumerate(self.rows):
            reason = (unusable or {}).get(number)
            if number in kept:
                row.state = State.KEPT
            elif reason is None:
                row.ahead = set(Stage) - {Stage.DRAW, Stage.COMMIT}
            else:
                row.state, row.error = State.FAILED, reason

    def start(self) -> list[Instruction]:
        """The first calls: every batch of the student."""
        drawable = [n for n, row in enumerate(self.rows) if row.state is State.WAITING]
        for batch in _batches(drawable, self.rules.student_batch):
            self._issue(Call(Stage.DRAW, batch))
        self._advance()
        return self._take_instructions()

    def handle(self, event: Event) -> list[Instruction]:
        """What follows from `event`. Late and doubled answers change nothing."""
        if isinstance(event, Lost):
            self._held.discard((event.call, event.output))
            return []
        if event.call not in self._running:
            return []
        call = event.call
        self._running.discard(call)
        for row in call.rows:
            self.rows[row].active.discard(call.stage)
        if isinstance(event, Failed):
            self._failed(call, event)
        else:
            self._attempts.pop(call, None)
            self._failures.pop(call, None)
            self._finished(call, event.scores)
        self._advance()
        self._release(call)
        return self._take_instructions()

    @property
    def held(self) -> frozenset[tuple[Call, Output]]:
        """The outputs that are to be kept in the object store for now."""
        return frozenset(self._held)

    @property
    def num_failed(self) -> int:
        """Rows that failed so far."""
        return sum(row.state is State.FAILED for row in self.rows)

    def made_by(self, stage: Stage, row: int) -> Call:
        """The call that made the row's output of `stage`."""
        return self._made[stage, row]

    def was_made(self, stage: Stage, row: int) -> bool:
        """Whether the row's output of `stage` was ever made."""
        return (stage, row) in self._made

    # ---- what follows from an answer

    def _finished(self, call: Call, scores: Sequence[float]) -> None:
        for output in OUTPUTS.get(call.stage, ()):
            self._held.add((call, output))
        for row in call.rows:
            self._made[call.stage, row] = call
            self.rows[row].ahead.discard(call.stage)
        rows = [row for row in call.rows if self.rows[row].state is not State.FAILED]
        match call.stage:
            case Stage.DRAW:
                # A drawing that is made again, because its outputs were lost, has its scores.
                fresh = [row for row in rows if self._ahead(row, Stage.SCORE_DRAWN)]
                self._issue(Call(Stage.SCORE_DRAWN, tuple(fresh)))
            case Stage.REFINE:
                fresh = [row for row in rows if self._ahead(row, Stage.SCORE_REFINED)]
                self._issue(Call(Stage.SCORE_REFINED, tuple(fresh)))
            case Stage.SCORE_DRAWN:
                self._judge_drawn(call, scores)
            case Stage.SCORE_REFINED:
                self._judge_refined(call, scores)
            case Stage.COMMIT:
                self.done = True
                for held_call, output in self._held:
                    self._out.append(Release(held_call, output))
                self._held.clear()
        self._unpark()

    def _judge_drawn(self, call: Call, scores: Sequence[float]) -> None:
        encode: list[int] = []
        for number, score in zip(call.rows, scores, strict=True):
            row = self.rows[number]
            if row.state is State.FAILED:
                continue
            if not isfinite(score):
                self._fail(row, call.stage, f"the oracle gave {score}, which is no score")
                continue
            row.student_score = score
            if score < self.rules.threshold:
                row.state = State.REJECTED
                if self.rules.save_student:
                    encode.append(number)
                elif self.rules.keep == "teacher":
                    row.ahead.discard(Stage.ENCODE_DRAWN)
            else:
                row.state, row.source = State.ACCEPTED, "student"
                row.ahead = {Stage.ENCODE_DRAWN}
                encode.append(number)
        self._issue(Call(Stage.ENCODE_DRAWN, tuple(encode)))

    def _judge_refined(self, call: Call, scores: Sequence[float]) -> None:
        encode: dict[Stage, list[int]] = {Stage.ENCODE_DRAWN: [], Stage.ENCODE_REFINED: []}
        for number, score in zip(call.rows, scores, strict=True):
            row = self.rows[number]
            if row.state is State.FAILED:
                continue
            if not isfinite(score):
                self._fail(row, call.stage, f"the oracle gave {score}, which is no score")
                continue
            row.teacher_score = score
            assert row.student_score is not None
            keeps_student = self.rules.keep == "best" and row.student_score > score
            row.source = "student" if keeps_student else "teacher"
            unwanted = Stage.ENCODE_REFINED if keeps_student else Stage.ENCODE_DRAWN
            wanted = Stage.ENCODE_DRAWN if keeps_student else Stage.ENCODE_REFINED
            if unwanted not in row.active:
                row.ahead.discard(unwanted)
            if wanted in row.ahead and wanted not in row.active:
                encode[wanted].append(number)
        for stage, rows in encode.items():
            self._issue(Call(stage, tuple(rows)))

    def _failed(self, call: Call, event: Failed) -> None:
        self._failures[call] = self._failures.get(call, 0) + 1
        if event.blame or self._failures[call] > MAX_UNLUCKY:
            self._attempts[call] = self._attempts.get(call, 0) + 1
        if self._attempts.get(call, 0) < self.rules.max_attempts:
            self._issue(call)
        elif call.stage is Stage.COMMIT:
            self._out.append(Abandon(event.reason))
        elif len(call.rows) > 1:
            middle = len(call.rows) // 2
            self._issue(Call(call.stage, call.rows[:middle]))
            self._issue(Call(call.stage, call.rows[middle:]))
        else:
            self._fail(self.rows[call.rows[0]], call.stage, event.reason)
            self._unpark()

    def _fail(self, row: Row, stage: Stage, reason: str) -> None:
        row.state, row.source = State.FAILED, None
        row.error = f"{stage}: {reason}"
        row.ahead = set()

    def _advance(self) -> None:
        """Send the teacher what is certain, and commit when every row has what it needs."""
        rows = self.rows
        while self._seen_rows < len(rows):
            if rows[self._seen_rows].state is State.WAITING:
                break
            # By its score, not its state: a rejected row that has failed since still has its
            # place in the teacher's batch, or batches would depend on when it failed.
            score = rows[self._seen_rows].student_score
            if score is not None and score < self.rules.threshold:
                self._for_teacher.append(self._seen_rows)
            self._seen_rows += 1
        at_end = self._seen_rows == len(rows)
        while len(self._for_teacher) >= self.rules.teacher_batch or (at_end and self._for_teacher):
            batch = self._for_teacher[: self.rules.teacher_batch]
            del self._for_teacher[: self.rules.teacher_batch]
            self._issue(Call(Stage.REFINE, tuple(batch)))
        commit = Call(Stage.COMMIT, tuple(range(len(rows))))
        busy = self._running or self._parked
        if at_end and not busy and not self.done and not any(row.ahead for row in rows):
            self._issue(commit)

    # ---- calls and what they take

    def _issue(self, call: Call) -> None:
        """Have `call` made: now, or once its lost inputs are there again."""
        rows = tuple(row for row in call.rows if self._may_run(call.stage, row))
        if not rows and call.stage is not Stage.COMMIT:
            return
        call = Call(call.stage, rows, self._sources(call.stage, rows))
        for row in rows:
            self.rows[row].active.add(call.stage)
        missing = self._missing(call)
        if not missing:
            self._running.add(call)
            self._out.append(call)
            return
        self._parked.append(call)
        for producer in dict.fromkeys(missing):
            if not any(producer.stage in self.rows[row].active for row in producer.rows):
                self._issue(producer)

    def _may_run(self, stage: Stage, row: int) -> bool:
        return stage is Stage.COMMIT or self.rows[row].state is not State.FAILED

    def _sources(self, stage: Stage, rows: Iterable[int]) -> tuple[Call, ...]:
        match stage:
            case Stage.SCORE_DRAWN | Stage.ENCODE_DRAWN:
                return tuple(self._made[Stage.DRAW, row] for row in rows)
            case Stage.REFINE if self.rules.strategy == "refine":
                return tuple(self._made[Stage.DRAW, row] for row in rows)
            case Stage.SCORE_REFINED | Stage.ENCODE_REFINED:
                return tuple(self._made[Stage.REFINE, row] for row in rows)
            case Stage.COMMIT:
                encoded = (
                    self._made[stage, row]
                    for row in rows
                    for stage in (Stage.ENCODE_DRAWN, Stage.ENCODE_REFINED)
                    if (stage, row) in self._made and self.rows[row].state is not State.FAILED
                )
                return tuple(dict.fromkeys(encoded))
            case _:
                return ()

    def input_of(self, stage: Stage) -> Output:
        """Which output of its sources a stage takes."""
        if stage is Stage.COMMIT:
            return Output.FILES
        if stage is Stage.REFINE and self.rules.through == "latents":
            return Output.LATENTS
        return Output.PICTURES

    def _missing(self, call: Call) -> list[Call]:
        output = self.input_of(call.stage)
        return [source for source in call.sources if (source, output) not in self._held]

    def _unpark(self) -> None:
        """Send the parked calls whose inputs are there again; forget rows that failed meanwhile."""
        parked, self._parked = self._parked, []
        for call in parked:
            for row in call.rows:
                self.rows[row].active.discard(call.stage)
            self._issue(call)

    def _release(self, call: Call) -> None:
        """Release what no row of `call` can ask for any more, from whoever made it."""
        makers = {
            self._made[stage, row]
            for row in call.rows
            for stage in (Stage.DRAW, Stage.REFINE)
            if (stage, row) in self._made
        }
        for maker in sorted(makers | {call}, key=lambda c: (c.stage, c.rows)):
            for output in OUTPUTS.get(maker.stage, ()):
                if (maker, output) in self._held and not self._asked_for(maker, output):
                    self._held.discard((maker, output))
                    self._out.append(Release(maker, output))

    def _asked_for(self, maker: Call, output: Output) -> bool:
        if output is Output.FILES:
            return not self.done
        if maker.stage is Stage.DRAW:
            takers = {Stage.SCORE_DRAWN, Stage.ENCODE_DRAWN, Stage.REFINE}
            if self.rules.strategy == "regenerate":
                takers.discard(Stage.REFINE)
        else:
            takers = {Stage.SCORE_REFINED, Stage.ENCODE_REFINED}
        takers = {stage for stage in takers if self.input_of(stage) is output}
        return any(
            self._made.get((maker.stage, row)) == maker
            and takers & (self.rows[row].ahead | self.rows[row].active)
            for row in maker.rows
        )

    def _ahead(self, row: int, stage: Stage) -> bool:
        return stage in self.rows[row].ahead and stage not in self.rows[row].active

    def _take_instructions(self) -> list[Instruction]:
        taken, self._out = self._out, []
        return taken


def _batches(rows: Sequence[int], size: int) -> Iterable[tuple[int, ...]]:
    for first in range(0, len(rows), size):
        yield tuple(rows[first : first + size])
