"""A part on its way: its rows, its cascade, its references in the object store, its results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

from jobs.execution.calls import Call, Event, Instruction
from jobs.execution.cascade import Cascade
from jobs.execution.part_log import PartLog
from jobs.execution.part_rows import Groups
from jobs.execution.row_set import sets_of_equals
from jobs.execution.row_state import Row, State
from jobs.execution.stages import FIRST_DRAWING, OutputKind, Stage, Step
from jobs.input.prompts import Part
from jobs.output.columns import RowResult
from jobs.output.records import DEVICES, TRUNCATED, UNREFINABLE
from jobs.rules import Rules

Ref = Any
"""Stands for an object in the object store; dropping the last one drops the object."""


@dataclass(eq=False)
class ActivePart:
    """`refs`: references to the outputs that the cascade still holds; `stored`: their bytes.
    `record`: once it is committed. `truncated`: by role, rows whose prompts were longer than it
    reads. `truncated_before`, `unrefinable_before`: such rows among those that a retry keeps.
    `failed_commits`: so far.
    `decisions`: the log of the cascade, if there is one.

    `devices` (the kinds that computed) by pool, `seconds`, `calls` and `padded_rows` (pictures that
    its actors computed, with the padding of short batches) by pool, `failures` and
    `smaller_batches` (by pool, after the device ran out of memory) go into the record: they may
    depend on time and place.
    """

    part: Part
    cascade: Cascade
    refs: dict[tuple[Call, OutputKind], Ref] = field(default_factory=dict)
    stored: dict[tuple[Call, OutputKind], int] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: Counter[str] = field(default_factory=Counter)
    padded_rows: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    failed_commits: int = 0
    smaller_batches: dict[str, int] = field(default_factory=dict)
    record: dict[str, Any] | None = None
    devices: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    truncated: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    truncated_before: Mapping[str, int] = field(default_factory=dict)
    unrefinable_before: int = 0
    extra_scores: dict[tuple[Step, int], Sequence[tuple[float, ...]]] = field(default_factory=dict)
    """By step that scores and row: of each of its pictures the extra scores, which decide nothing.
    """
    decisions: PartLog | None = None

    def start(self) -> list[Instruction]:
        """The cascade's first instructions."""
        if self.decisions is None:
            return self.cascade.start()
        return self.decisions.decide(None, self.cascade.start)

    def handle(self, event: Event) -> list[Instruction]:
        """The cascade's instructions that follow from `event`."""
        if self.decisions is None:
            return self.cascade.handle(event)
        return self.decisions.decide(event, lambda: self.cascade.handle(event))

    def note_extra_scores(self, call: Call, scores: Sequence[tuple[float, ...]]) -> None:
        """A call scored its rows' pictures. scores: of each picture; none where the job has none.

        A call that is repeated brings the same ones.
        """
        each = len(scores) // len(call.rows)
        for place, row in enumerate(call.rows if each else ()):
            self.extra_scores[call.step, row] = scores[place * each : (place + 1) * each]

    def extra_scores_of(self, rung: int, row: int) -> tuple[float, ...] | None:
        """Of a row's picture, which is that of the rung; None where the job has none."""
        found = self.extra_scores.get((self.cascade.scoring_of(rung), row))
        return None if found is None else found[self.cascade.picture_of(rung, row)]

    def inputs(self, call: Call) -> dict[Ref, Call] | None:
        """The references that a call takes, each with the call that made it.

        None if one was lost since the cascade asked for `call`: another call missed it.
        """
        used = self.cascade.outputs.input_of(call.step)
        try:
            return {self.refs[maker, used]: maker for maker in call.sources}
        except KeyError:
            return None

    def facts(self) -> dict[str, Any]:
        """The part of the record that may depend on time and place, and a count."""
        devices = {name: sorted(kinds) for name, kinds in self.devices.items()}
        unrefinable = self.unrefinable_before + self.cascade.num_unrefinable
        truncated = Counter(self.truncated_before)
        truncated.update({role: len(rows) for role, rows in self.truncated.items()})
        return {
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "calls": dict(self.calls),
            "padded_rows": dict(self.padded_rows),
            "failed_calls": self.failures,
            **({DEVICES: devices} if devices else {}),
            **({TRUNCATED: dict(+truncated)} if +truncated else {}),
            **({UNREFINABLE: unrefinable} if unrefinable else {}),
            **({"smaller_batches": self.smaller_batches} if self.smaller_batches else {}),
        }


def cascade_of(part: Part, rules: Rules, kept: frozenset[int] = frozenset()) -> Cascade:
    """The cascade of a part; rows with other options are drawn apart."""
    groups = Groups(**{role: sets_of_equals(of) for role, of in part.options.items()})
    return Cascade(len(part.prompts), rules, part.invalid_rows, kept, groups=groups)


def picks(cascade: Cascade, call: Call) -> list[tuple[int, int]]:
    """The place of each row's input: (which of the call's sources, which picture of it).

    The oracle has one input for each drawing of a drawn row, one after the other. A commit takes
    whole lists of files, and `row_results` has their places.
    """
    if not call.sources or call.stage is Stage.COMMIT:
        return []
    # Of two sources that have a row, either will do: it has the same bytes in both. But of several
    # drawings a refinement starts from the one that the row has.
    several = len(cascade.outputs.taken_by(call.step)) > 1
    places = {
        row: (which, place)
        for which, source in enumerate(call.sources)
        for place, row in enumerate(source.rows)
        if not several or cascade.has_drawing(source.attempt, row)
    }
    if cascade.rules.draws == 1 or FIRST_DRAWING not in cascade.outputs.taken_by(call.step):
        return [places[row] for row in call.rows]
    found = []
    for row in call.rows:
        which, place = places[row]
        if call.sources[which].attempt:
            found.append((which, place))
        else:
            found += [(which, there) for there in cascade.places(call, row, place)]
    return found


def row_results(
    owner: ActivePart, commit: Call, evaluations: Mapping[Step, int], save_student: bool
) -> list[RowResult | None]:
    """The result of each row of a finished part, with the places of its files among the commit's.

    None for a row that stays as it is in the part on disk.
    """
    cascade = owner.cascade
    places = {source: which for which, source in enumerate(commit.sources)}

    def file_of(rung: int, row: int) -> tuple[int, int]:
        made_by = cascade.made_by(cascade.encoding_of(rung), row)
        return places[made_by], made_by.rows.index(row)

    saves = cascade.rules.save_attempts
    results: list[RowResult | None] = []
    for number, row in enumerate(cascade.rows):
        if row.state is State.KEPT:
            results.append(None)
            continue
        image = student_image = extra_scores = None
        if row.source and row.at.has is not None:
            image = file_of(row.at.has, number)
            extra_scores = owner.extra_scores_of(row.at.has, number)
        if row.teacher_score is not None and save_student and row.error is None:
            assert row.at.drawing is not None
            student_image = file_of(row.at.drawing, number)
        results.append(
            RowResult(
                seed=owner.part.seeds[number],
                student_score=row.student_score,
                teacher_score=row.teacher_score,
                source=row.source,
                nfe=sum(evaluations[step] for step in cascade.spent(number)),
                truncated=row.error is None and number in owner.truncated["student"],
                error=row.error,
                image=image,
                student_image=student_image,
                rung_scores=_rung_scores(cascade, number, row) if saves else None,
                extra_scores=extra_scores,
            )
        )
    return results


def _rung_scores(cascade: Cascade, number: int, row: Row) -> tuple[float | None, ...]:
    """A row's score by rung: nan where the rung made no picture, None where it was not taken.

    Of a failed row the rung in which it failed does not count.
    """
    scores, taken = cascade.scores_of(number), row.at.taken
    if row.error is not None and scores[taken[-1]] is None:
        taken = taken[:-1]
    return tuple(
        (nan if score is None else score) if rung in taken else None
        for rung, score in enumerate(scores)
    )
