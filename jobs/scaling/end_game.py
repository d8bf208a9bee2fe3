"""The last rows are drawn: the teachers get the idle students' devices, as far as that helps."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf

import numpy as np

from jobs.scaling.decision import PoolFacts, ScalingDecision, ScalingInput, changes
from jobs.scaling.schedule import seconds_for

AS_GOOD = 1.005
"""The fewest teachers that end within this factor of the best time get the work. Chosen: half a
percent of the end is less than its calls vary, and each actor less saves a load.
"""

MIN_GAIN = 0.02
"""Of the time left: a smaller gain moves nobody. Chosen: calls vary by more than that, and a load
may fail.
"""


def at_the_end(inputs: ScalingInput) -> ScalingDecision:
    """The teachers get the devices that help them; the students keep their minimum, and whoever
    draws."""
    before = inputs.sizes
    teacher = inputs.teacher
    calls = teacher.queued
    if not calls:
        return ScalingDecision(before)
    if inputs.judged_soon or inputs.rows_to_draw > 0:
        # What is still being drawn and judged makes more, and a part's last call is short.
        come = inputs.waiting + inputs.unbatched + inputs.rest * inputs.rows_to_draw
        calls = max(calls, ceil(come / teacher.call_rows) + 1)
    drawing = min(inputs.student.running, inputs.student.size) if inputs.rows_to_draw > 0 else 0
    fewest = max(drawing, inputs.student.minimum)
    beside = {**before, "student": fewest}
    bound = min(teacher.maximum, teacher.size + calls)
    most = inputs.capacity.most("teacher", beside, bound)
    if most <= teacher.size:
        return ScalingDecision(before)
    seconds = {
        n: _seconds_to_end(calls, inputs.teachers_free_in, n - teacher.size, teacher)
        for n in (teacher.size, most)
    }
    # The fewest that are as good as all of them.
    low, high = teacher.size, most
    while low < high:
        middle = (low + high) // 2
        more = middle - teacher.size
        seconds[middle] = _seconds_to_end(calls, inputs.teachers_free_in, more, teacher)
        enough = seconds[middle] <= AS_GOOD * seconds[most]
        low, high = (low, middle) if enough else (middle + 1, high)
    saved = seconds[teacher.size] - seconds.get(low, seconds[most])
    if low == teacher.size or (saved < inf and saved <= MIN_GAIN * seconds[teacher.size]):
        return ScalingDecision(before)
    students = inputs.capacity.most("student", {**before, "teacher": low}, inputs.student.size)
    sizes = {**before, "teacher": low, "student": max(students, fewest)}
    gain = "the only way on" if saved == inf else f"{saved:.0f} s earlier"
    return ScalingDecision(
        sizes,
        f"{'the last rows are' if drawing else 'everything is'} drawn and {calls} batches wait for "
        f"teachers: "
        f"{changes(before, sizes)}, {gain}, with {teacher.load_seconds:.0f} s of loading in it",
    )


def _seconds_to_end(calls: int, free_in: Sequence[float], more: int, teacher: PoolFacts) -> float:
    """Seconds until the last of the waiting `calls` ends, if whoever is free first takes the next.

    `free_in`: seconds until each present teacher is free; `more` teachers load first.
    """
    starts = np.array([*free_in, *[teacher.load_seconds] * more])
    if not len(starts):
        return inf
    return max(seconds_for(calls, starts, teacher.call_seconds), *free_in, 0.0)
