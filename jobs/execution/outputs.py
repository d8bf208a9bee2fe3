"""The outputs of a part's calls: who made each, who takes it, which the object store keeps.

Pure, and a part of the cascade: an output that was lost is made again by the call that made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.execution.calls import Call, Lost, Release
from jobs.execution.row_set import RowSet, lowest
from jobs.execution.stages import (
    ENCODINGS,
    MADE_BY_STUDENT,
    MADE_BY_TEACHER,
    STAGES,
    OutputKind,
    Stage,
    Step,
)
from jobs.rules import Rules
from jobs.spec.climb import Ladder


@dataclass(slots=True)
class Made:
    """A call that succeeded, and the rows whose output of its stage is still the one it made."""

    call: Call
    rows: RowSet


@dataclass(slots=True)
class _Makers:
    """Of one step: by row, the maker of the row's output; and the rows that have a maker."""

    by_row: list[Made | None]
    rows: RowSet = 0


@dataclass(frozen=True, slots=True)
class _Flow:
    """The inputs of a step, and who takes its outputs, under a job's rules.

    `takes`: the steps of which a row has the input from one: a refinement starts from any of the
    row's drawings.
    """

    takes: tuple[Step, ...]
    input: OutputKind
    takers: dict[OutputKind, tuple[Step, ...]] = field(default_factory=dict)
    """By output of this step: the steps that take it. A commit, which takes files, is not among
    them: files stay until it has succeeded."""


class PartOutputs:
    """The outputs of one part's calls."""

    def __init__(self, num_rows: int, rules: Rules) -> None:
        self.steps = steps_of(rules.ladder)
        """In the order in which a row's failure is decided."""
        self._flows = _flows(self.steps, rules)
        self._makers = {
            step: _Makers([None] * num_rows) for step in self.steps if STAGES[step.stage].outputs
        }
        self._encodings = [step for step in self.steps if step.stage in ENCODINGS]
        self._held: dict[OutputKind, set[Call]] = {output: set() for output in OutputKind}
        """The calls whose outputs the object store keeps for now."""

    # ---- lookups

    @property
    def held(self) -> frozenset[tuple[Call, OutputKind]]:
        """The outputs that the object store keeps for now."""
        return frozenset((call, output) for output, calls in self._held.items() for call in calls)

    def input_of(self, step: Step) -> OutputKind:
        """Which output of its sources a step takes."""
        return self._flows[step].input

    def taken_by(self, step: Step) -> tuple[Step, ...]:
        """The steps whose output `step` takes; none where it starts from nothing."""
        return self._flows[step].takes

    def takers(self, step: Step, output: OutputKind) -> tuple[Step, ...]:
        """The steps that take this output of `step`."""
        return self._flows[step].takers[output]

    def maker(self, step: Step, row: int) -> Call | None:
        """The call that made the row's output of `step`; None before the first."""
        made = self._makers[step].by_row[row]
        return None if made is None else made.call

    def made_rows(self, step: Step) -> RowSet:
        """The rows whose output of `step` was ever made."""
        return self._makers[step].rows

    def makers(self, step: Step, rows: RowSet) -> list[Made]:
        """The makers of the rows' outputs of `step`, of those rows that have one."""
        makers = self._makers[step]
        rows &= makers.rows
        found = []
        while rows:
            made = makers.by_row[lowest(rows)]
            assert made is not None
            found.append(made)
            rows &= ~made.rows
        return found

    def sources(
        self, step: Step, rows: RowSet, failed: RowSet, drawings: Sequence[RowSet]
    ) -> tuple[Call, ...]:
        """The calls whose outputs a call of `step` for `rows` takes.

        failed: rows that failed; a commit takes no files of them. drawings: by attempt of the
        student, the rows that have its drawing; a refinement starts from that one.
        """
        if step.stage is Stage.COMMIT:
            good = rows & ~failed
            encoded = [made for encoding in self._encodings for made in self.makers(encoding, good)]
            encoded.sort(key=lambda made: lowest(made.rows & good))
            return tuple(made.call for made in encoded)
        takes = self._flows[step].takes
        if len(takes) > 1:
            rows_of = ((one, rows & drawings[one.attempt]) for one in takes)
            return tuple([made.call for pair in rows_of for made in self.makers(*pair)])
        return tuple([made.call for made in self.makers(takes[0], rows)]) if takes else ()

    def missing(self, call: Call) -> list[Call]:
        """Those of the call's sources whose output is not in the object store."""
        held = self._held[self._flows[call.step].input]
        return [source for source in call.sources if source not in held]

    def is_held(self, call: Call, output: OutputKind) -> bool:
        """Whether the object store keeps this output of `call`."""
        return call in self._held[output]

    # ---- changes

    def add(self, call: Call) -> None:
        """A call left its outputs."""
        makers = self._makers.get(call.step)
        if makers is None:
            return
        for output in STAGES[call.stage].outputs:
            self._held[output].add(call)
        if makers.rows & call.row_set:
            for row in call.rows:
                if before := makers.by_row[row]:
                    before.rows &= ~(1 << row)
        makers.rows |= call.row_set
        made = Made(call, call.row_set)
        for row in call.rows:
            makers.by_row[row] = made

    def lose(self, event: Lost) -> None:
        """An output is gone from the object store."""
        self._held[event.output].discard(event.call)

    def release(self, call: Call, output: OutputKind) -> Release:
        """No stage takes this output of `call` any more."""
        self._held[output].discard(call)
        return Release(call, output)

    def release_all(self) -> list[Release]:
        """The part is committed: nothing of it is kept."""
        released = []
        for output, calls in self._held.items():
            released += [Release(held, output) for held in calls]
            calls.clear()
        return released


def attempts_of(ladder: Ladder) -> list[tuple[Step, Step, Step]]:
    """By rung: the steps that make, score and encode its picture."""
    found: list[tuple[Step, Step, Step]] = []
    for number, rung in enumerate(ladder):
        stages = MADE_BY_TEACHER if rung.by_teacher else MADE_BY_STUDENT
        attempt = sum(before.by_teacher == rung.by_teacher for before in ladder[:number])
        make, score, encode = (Step(stage, attempt) for stage in stages)
        found.append((make, score, encode))
    return found


def steps_of(ladder: Ladder) -> tuple[Step, ...]:
    """The steps of a ladder: the attempts with their scores in turn, the files, the commit."""
    attempts = attempts_of(ladder)
    making = [step for make, score, _ in attempts for step in (make, score)]
    return (*making, *(encode for *_, encode in attempts), Step(Stage.COMMIT))


def _flows(steps: tuple[Step, ...], rules: Rules) -> dict[Step, _Flow]:
    """The table of stages as a job's rules have it: a teacher that regenerates takes nothing, and
    one that refines takes latents or pictures."""
    drawings = tuple(step for step in steps if step.stage is Stage.DRAW)
    of_teacher = [rung for rung in rules.ladder if rung.by_teacher]
    takes: dict[Step, tuple[Step, ...]] = {}
    inputs: dict[Step, OutputKind] = {}
    for step in steps:
        info = STAGES[step.stage]
        inputs[step] = info.input
        if step.stage is Stage.REFINE:
            takes[step] = drawings if of_teacher[step.attempt].make == "refine" else ()
            if rules.through == "latents":
                inputs[step] = OutputKind.LATENTS
        else:
            takes[step] = (Step(info.takes, step.attempt),) if info.takes else ()
    return {
        step: _Flow(
            takes[step],
            inputs[step],
            {
                output: tuple(s for s in steps if step in takes[s] and inputs[s] is output)
                for output in STAGES[step.stage].outputs
            },
        )
        for step in steps
    }
