"""How long a job still takes, from the rows that are left and the seconds that a row takes. Pure.

The plan of a job simulates it; this is the same model in one formula, cheap enough for a live view:
students draw what is left, teachers refine what was rejected and what will be, and at the end the
students' devices go to the teachers where the pools may change.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLeft:
    """Work of one pool: `rows` left, of which each takes an actor `row_seconds`.

    A call has `call_rows`, and `busy` of the pool's `actors` are in the middle of one.
    """

    rows: float
    row_seconds: float
    call_rows: float
    actors: int
    busy: int

    @property
    def work(self) -> float:
        """Actor-seconds left. The calls under way are half done on average."""
        under_way = min(self.rows, self.busy * self.call_rows)
        return (self.rows - under_way / 2) * self.row_seconds

    @property
    def tail(self) -> float:
        """The calls of the actors do not end together: half of one, if there are any."""
        return self.call_rows * self.row_seconds / 2 if self.rows else 0.0


def seconds_left(
    student: StageLeft,
    oracle: StageLeft,
    teacher: StageLeft,
    *,
    load_seconds: float,
    sizes_may_change: bool,
) -> float | None:
    """Seconds until the last row has its last score. None where a pool that has work has no actors.

    load_seconds: of a teacher, which a device costs that changes hands.
    """
    scoring = oracle.work / oracle.actors if oracle.actors else 0.0
    students, teachers = student.actors, teacher.actors
    if sizes_may_change and students + teachers:
        seconds = _by_all(student.work, teacher.work, students, teachers, load_seconds)
    elif (student.rows and not students) or (teacher.rows and not teachers):
        return None
    else:
        drawing = student.work / students if students else 0.0
        seconds = max(drawing, teacher.work / teachers if teachers else 0.0)
    return max(scoring, seconds) + (teacher.tail if teacher.rows else student.tail)


def _by_all(
    drawing: float, refining: float, students: int, teachers: int, load_seconds: float
) -> float:
    """Each side does its own work, until the devices of the side that ends first change hands."""
    both = students + teachers
    student_ends = drawing / students if students else inf if drawing else 0.0
    teacher_ends = refining / teachers if teachers else inf if refining else 0.0
    movers = students if student_ends < teacher_ends else teachers
    together = (drawing + refining + movers * load_seconds) / both
    # Devices that would still load when the others are done do not move.
    return min(max(student_ends, teacher_ends), together)
