"""Everything is drawn: the teachers get the devices of the students, as far as that helps."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, inf

from jobs.scaling.decision import PoolFacts, ScalingDecision, ScalingInput, changes


def at_the_end(look: ScalingInput) -> ScalingDecision:
    """Everything is drawn: the teachers get the devices that help them, the students none."""
    before = look.sizes
    teacher = look.teacher
    if not teacher.queued:
        return ScalingDecision(before)
    beside = {**before, "student": look.student.minimum}
    bound = min(teacher.maximum, teacher.size + teacher.queued)
    most = look.capacity.most("teacher", beside, bound)
    if most <= teacher.size:
        return ScalingDecision(before)
    seconds = {
        n: _dealt(teacher.queued, look.teachers_free_in, n - teacher.size, teacher)
        for n in (teacher.size, most)
    }
    # The fewest that are as good as all of them.
    low, high = teacher.size, most
    while low < high:
        middle = (low + high) // 2
        more = middle - teacher.size
        seconds[middle] = _dealt(teacher.queued, look.teachers_free_in, more, teacher)
        enough = seconds[middle] <= 1.005 * seconds[most]
        low, high = (low, middle) if enough else (middle + 1, high)
    saved = seconds[teacher.size] - seconds.get(low, seconds[most])
    if low == teacher.size or (saved < inf and saved <= 0.02 * seconds[teacher.size]):
        return ScalingDecision(before)
    students = look.capacity.most("student", {**before, "teacher": low}, look.student.size)
    sizes = {**before, "teacher": low, "student": max(students, look.student.minimum)}
    gain = "the only way on" if saved == inf else f"{saved:.0f} s earlier"
    return ScalingDecision(
        sizes,
        f"everything is drawn and {teacher.queued} batches wait for teachers: "
        f"{changes(before, sizes)}, {gain}, with {teacher.load_seconds:.0f} s of loading in it",
    )


def _dealt(calls: int, free_in: Sequence[float], more: int, teacher: PoolFacts) -> float:
    """Seconds until the last of the waiting `calls` is done, each by whoever is free first."""
    starts = [*free_in, *[teacher.load_seconds] * more]
    if not starts:
        return inf
    each = teacher.call_seconds
    low, high = 0.0, max(starts) + calls * each
    for _ in range(40):
        middle = (low + high) / 2
        if sum(floor((middle - start) / each + 1e-9) for start in starts if start < middle) < calls:
            low = middle
        else:
            high = middle
    return max([high, *free_in])
