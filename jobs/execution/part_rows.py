"""The rows of a part on the ladder: their scores, the rungs that they take, the pictures they have.

Pure, and a part of the cascade. `jobs.spec.climb` is the rule for one row; this is the same for a
part, kept up as scores come in, as sets of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.execution.row_set import RowSet, lowest, members_among, row_set
from jobs.rules import Rules

Scores = Sequence[tuple[int, float]]
"""Rows with their scores."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The rows that may be drawn together, by the student and by the teacher: sets that have every
    row once. None: all of them."""

    student: tuple[RowSet, ...] = ()
    teacher: tuple[RowSet, ...] = ()


ALL_ALIKE = Groups()


class PartRows:
    """Where each row stands. Lists of sets are by rung."""

    def __init__(
        self, num_rows: int, rules: Rules, waiting: RowSet, groups: Groups = ALL_ALIKE
    ) -> None:
        self.num_rows = num_rows
        everything: RowSet = (1 << num_rows) - 1
        self._groups = [
            (groups.teacher if rung.by_teacher else groups.student) or (everything,)
            for rung in rules.ladder
        ]
        self.ladder = rules.ladder
        self._sizes = [
            rules.teacher_batch if rung.by_teacher else rules.student_batch for rung in rules.ladder
        ]
        self.waiting = waiting
        """Rows that have no score yet and may get one."""
        self.judged: RowSet = 0
        """Rows that have the score of their first drawing."""
        self.settled: RowSet = 0
        """Rows that take no further rung: they have their picture."""
        self._undetermined = [waiting for _ in self.ladder]
        """Rows that may take the rung, and are not known to."""
        self.takes: list[RowSet] = [0 for _ in self.ladder]
        """Rows that take the rung by their score, whatever becomes of them."""
        self.has: list[RowSet] = [0 for _ in self.ladder]
        """Rows that have the rung's picture."""
        self.drawing: list[RowSet] = [0 for _ in self.ladder]
        """Rows that have the rung's drawing, or had it before the teacher's picture."""
        self.beaten: list[RowSet] = [0 for _ in self.ladder]
        """Rows that have a better drawing than the rung's."""
        self.unmade: list[RowSet] = [0 for _ in self.ladder]
        """Rows of which the rung can make no picture."""
        self.by_teacher: RowSet = 0
        """Rows that have the score of a teacher's picture."""
        self._scores: list[list[float | None]] = [[None] * num_rows for _ in self.ladder]
        self._score: list[float] = [0.0] * num_rows
        """Of the picture that the row has."""
        self._seen = [[0 for _ in groups] for groups in self._groups]
        """By group: its rows before this one are known to take the rung or not."""
        self._queues: list[list[list[int]]] = [[[] for _ in groups] for groups in self._groups]
        """By group: rows that take the rung, and are in no batch of it yet."""
        self._num_batched = [0 for _ in self.ladder]
        """Rows that are in a batch of the rung."""

    @property
    def tried_again(self) -> RowSet:
        """Rows that take a rung after the first, whatever becomes of them."""
        found: RowSet = 0
        for rows in self.takes[1:]:
            found |= rows
        return found

    @property
    def unrefinable(self) -> RowSet:
        """Rows of which no rung of the teacher made a picture, though one was to."""
        unmade: RowSet = 0
        for rung, rows in zip(self.ladder, self.unmade, strict=True):
            unmade |= rows if rung.by_teacher else 0
        return unmade & ~self.by_teacher

    def scores_of(self, row: int, counting: int) -> list[float | None]:
        """A row's scores by rung, of the first `counting` rungs; None where it has none."""
        return [of[row] if n < counting else None for n, of in enumerate(self._scores)]

    def known(self, number: int) -> int:
        """Judged rows that are known to take the rung or not."""
        return (self.judged & ~self._undetermined[number]).bit_count()

    @property
    def num_unbatched(self) -> int:
        """Rows that take a rung of the teacher and are in no batch of it yet."""
        rungs = zip(self.ladder, self.takes, self._num_batched, strict=True)
        return sum(rows.bit_count() - batched for rung, rows, batched in rungs if rung.by_teacher)

    # ---- changes

    def score(self, number: int, scored: Scores) -> list[tuple[int, RowSet]]:
        """A rung's pictures have scores. Returns the pictures that are not kept: rung and rows."""
        rung, score, scores = self.ladder[number], self._score, self._scores[number]
        rows = row_set([row for row, _ in scored])
        for row, one in scored:
            scores[row] = one
        better = rows
        if number and not (rung.by_teacher and rung.keep == "teacher"):
            better = row_set([row for row, one in scored if rung.replaces(one, score[row])])
        for row, one in scored:
            if better >> row & 1:
                score[row] = one
        dropped = [(number, rows & ~better)]
        for before in range(number):
            dropped.append((before, self.has[before] & better))
            self.has[before] &= ~better
        self.has[number] |= better
        if rung.by_teacher:
            self.by_teacher |= rows
        else:
            self.judged |= rows
            for drawing, lost in dropped:
                self.drawing[drawing] &= ~lost
                self.beaten[drawing] |= lost
            self.drawing[number] |= better
        return [(which, lost) for which, lost in dropped if lost]

    def take(self, number: int, rows: RowSet, among: Sequence[int]) -> RowSet:
        """Those of `rows` that take a rung; of all of them it is known from now on.

        among: rows, ascending, with all of `rows` among them.
        """
        below, score = self.ladder[number].below, self._score
        takes = row_set([row for row in members_among(rows, among) if score[row] < below])
        self._undetermined[number] &= ~rows
        self.takes[number] |= takes
        return takes

    def fail(self, failed: RowSet) -> None:
        """Rows fail, and take no further rung."""
        self.waiting &= ~failed
        self._undetermined = [rows & ~failed for rows in self._undetermined]

    # ---- batches

    def batches(self, number: int) -> list[tuple[int, ...]]:
        """The rung's next batches: of rows that take it, by group, in row order, cut to its size.

        One is certain once every row of its group before its last is known to take the rung or not.
        """
        found: list[tuple[int, ...]] = []
        for place, group in enumerate(self._groups[number]):
            found += self._batches_of(number, place, group)
        return found

    def _batches_of(self, number: int, place: int, group: RowSet) -> list[tuple[int, ...]]:
        undetermined, seen = self._undetermined[number] & group, self._seen[number]
        if undetermined >> seen[place] & 1:
            return []  # nothing new
        first = lowest(undetermined) if undetermined else self.num_rows
        queue, size = self._queues[number][place], self._sizes[number]
        if first > seen[place]:
            # By its score, not its state: a row that has failed since still has its place in the
            # batch, or batches would depend on when it failed.
            queue += members_among(self.takes[number] & group, range(seen[place], first))
            seen[place] = first
        found = []
        while len(queue) >= size or (first == self.num_rows and queue):
            found.append(tuple(queue[:size]))
            self._num_batched[number] += len(found[-1])
            del queue[:size]
        return found

    @property
    def all_determined(self) -> bool:
        """Whether every row is known to take each rung or not."""
        return not any(self._undetermined[1:]) and not self.waiting
