"""Where an autoscaler brings devices: as many teachers as have work, and everything given back."""

from __future__ import annotations

from math import ceil

from jobs.scaling.decision import ScalingDecision, ScalingInput, changes
from jobs.scaling.end_game import at_the_end
from jobs.scaling.pricing import Pricing

SLACK = 0.1
"""Of a teacher: a need that wavers around a whole number moves nobody."""


def as_needed(look: ScalingInput) -> ScalingDecision:
    """Where devices come and go: the teachers that keep up with the students, no more.

    What waits already is spread over the time that drawing will take. A teacher comes if it is
    needed for longer than it loads, and goes when the others would do with room to spare.
    """
    before, teacher = look.sizes, look.teacher
    oracles = Pricing(look).decision_on_oracles()
    if not look.student.size:
        return oracles
    drawing = look.rows_to_draw * look.student.row_seconds / look.student.size
    rows = look.rejected * look.rows_to_draw + look.waiting
    busy = rows * teacher.row_seconds / drawing
    wanted = teacher.within(ceil(busy))
    wanted = look.capacity.most("teacher", {**before, "teacher": 0}, wanted)
    few = wanted > teacher.size and busy > teacher.size + SLACK
    many = wanted < teacher.size and busy < teacher.size - 1 - SLACK
    if not many and not (few and drawing > teacher.load_seconds):
        return oracles
    sizes = {**oracles.sizes, "teacher": wanted}
    return ScalingDecision(
        sizes,
        f"p {look.rejected:.2f}: the students keep {busy:.1f} teachers busy for the {drawing:.0f} "
        f"s that they still draw. {changes(before, sizes)}",
    )


def given_back(look: ScalingInput) -> ScalingDecision:
    """Everything is drawn, and devices may go: the students', then those of idle teachers."""
    before, teacher = look.sizes, look.teacher
    decision = at_the_end(look)
    sizes = {**decision.sizes, "student": look.student.minimum}
    if not teacher.queued:
        sizes["teacher"] = max(teacher.minimum, min(teacher.size, teacher.running))
    if sizes == before:
        return decision
    told = f"everything is drawn: {changes(before, sizes)}"
    return ScalingDecision(sizes, decision.reason or told)
