"""The outputs of a part's calls: who made each, who takes it, which the object store keeps.

Pure, and a part of the cascade: an output that was lost is made again by the call that made it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.execution.calls import Call, Lost, Release
from jobs.execution.row_set import RowSet, lowest
from jobs.execution.stages import ENCODINGS, STAGES, OutputKind, Stage
from jobs.rules import Rules


@dataclass(slots=True)
class Made:
    """A call that succeeded, and the rows whose output of its stage is still the one it made."""

    call: Call
    rows: RowSet


@dataclass(slots=True)
class _Makers:
    """Of one stage: by row, the maker of the row's output; and the rows that have a maker."""

    by_row: list[Made | None]
    rows: RowSet = 0


@dataclass(frozen=True, slots=True)
class _Flow:
    """The inputs of a stage, and who takes its outputs, under a job's rules."""

    takes: Stage | None
    input: OutputKind
    takers: dict[OutputKind, tuple[Stage, ...]] = field(default_factory=dict)
    """By output of this stage: the stages that take it. A commit, which takes files, is not
    among them: files stay until it has succeeded."""


class PartOutputs:
    """The outputs of one part's calls."""

    def __init__(self, num_rows: int, rules: Rules) -> None:
        self._flows = _flows(rules)
        self._makers = {
            stage: _Makers([None] * num_rows) for stage, info in STAGES.items() if info.outputs
        }
        self._held: dict[OutputKind, set[Call]] = {output: set() for output in OutputKind}
        """The calls whose outputs the object store keeps for now."""

    # ---- lookups

    @property
    def held(self) -> frozenset[tuple[Call, OutputKind]]:
        """The outputs that the object store keeps for now."""
        return frozenset((call, output) for output, calls in self._held.items() for call in calls)

    def input_of(self, stage: Stage) -> OutputKind:
        """Which output of its sources a stage takes."""
        return self._flows[stage].input

    def taken_by(self, stage: Stage) -> Stage | None:
        """The stage whose output `stage` takes; None for a stage that starts from nothing."""
        return self._flows[stage].takes

    def takers(self, stage: Stage, output: OutputKind) -> tuple[Stage, ...]:
        """The stages that take this output of `stage`."""
        return self._flows[stage].takers[output]

    def maker(self, stage: Stage, row: int) -> Call | None:
        """The call that made the row's output of `stage`; None before the first."""
        made = self._makers[stage].by_row[row]
        return None if made is None else made.call

    def made_rows(self, stage: Stage) -> RowSet:
        """The rows whose output of `stage` was ever made."""
        return self._makers[stage].rows

    def makers(self, stage: Stage, rows: RowSet) -> list[Made]:
        """The makers of the rows' outputs of `stage`, of those rows that have one."""
        makers = self._makers[stage]
        rows &= makers.rows
        found = []
        while rows:
            made = makers.by_row[lowest(rows)]
            assert made is not None
            found.append(made)
            rows &= ~made.rows
        return found

    def sources(self, stage: Stage, rows: RowSet, failed: RowSet) -> tuple[Call, ...]:
        """The calls whose outputs a call of `stage` for `rows` takes.

        failed: rows that failed; a commit takes no files of them.
        """
        if stage is Stage.COMMIT:
            good = rows & ~failed
            encoded = [made for encoding in ENCODINGS for made in self.makers(encoding, good)]
            encoded.sort(key=lambda made: lowest(made.rows & good))
            return tuple(made.call for made in encoded)
        takes = self._flows[stage].takes
        return tuple([made.call for made in self.makers(takes, rows)]) if takes else ()

    def missing(self, call: Call) -> list[Call]:
        """Those of the call's sources whose output is not in the object store."""
        held = self._held[self._flows[call.stage].input]
        return [source for source in call.sources if source not in held]

    def is_held(self, call: Call, output: OutputKind) -> bool:
        """Whether the object store keeps this output of `call`."""
        return call in self._held[output]

    # ---- changes

    def add(self, call: Call) -> None:
        """A call left its outputs."""
        makers = self._makers.get(call.stage)
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


def _flows(rules: Rules) -> dict[Stage, _Flow]:
    """The table of stages as a job's rules have it: a teacher that regenerates takes nothing, and
    one that refines takes latents or pictures."""
    takes = {stage: info.takes for stage, info in STAGES.items()}
    inputs = {stage: info.input for stage, info in STAGES.items()}
    if rules.strategy == "regenerate":
        takes[Stage.REFINE] = None
    if rules.through == "latents":
        inputs[Stage.REFINE] = OutputKind.LATENTS
    return {
        stage: _Flow(
            takes[stage],
            inputs[stage],
            {
                output: tuple(s for s in Stage if takes[s] is stage and inputs[s] is output)
                for output in info.outputs
            },
        )
        for stage, info in STAGES.items()
    }
