"""Where an autoscaler brings devices: as many teachers as have work, and devices go back."""

from __future__ import annotations

from math import ceil

from jobs.scaling.decision import ScalingDecision, ScalingInput, changes
from jobs.scaling.end_game import at_the_end
from jobs.scaling.pricing import Pricing

SLACK = 0.1
"""Of a teacher: a need that wavers around a whole number moves nobody. Chosen: a tenth too few
makes the teachers a tenth of a call late; a node that comes and goes costs minutes.
"""


def as_needed(inputs: ScalingInput) -> ScalingDecision:
    """While rows are drawn: the teachers that keep up with the students, and no more.

    The rows that wait already are spread over the time that drawing will take. A teacher comes if
    there is work for it for longer than it loads, and goes when the others have room to spare.
    """
    before, teacher = inputs.sizes, inputs.teacher
    oracles = Pricing(inputs).decision_on_oracles()
    if not inputs.student.size:
        return oracles
    drawing_seconds = inputs.rows_to_draw * inputs.student.row_seconds / inputs.student.size
    rows = inputs.rejected * inputs.rows_to_draw + inputs.waiting
    busy = rows * teacher.row_seconds / drawing_seconds
    wanted = teacher.within(ceil(busy))
    wanted = inputs.capacity.most("teacher", {**before, "teacher": 0}, wanted)
    too_few = wanted > teacher.size and busy > teacher.size + SLACK
    too_many = wanted < teacher.size and busy < teacher.size - 1 - SLACK
    if not too_many and not (too_few and drawing_seconds > teacher.load_seconds):
        return oracles
    sizes = {**oracles.sizes, "teacher": wanted}
    return ScalingDecision(
        sizes,
        f"p {inputs.rejected:.2f}: the students keep {busy:.1f} teachers busy for the "
        f"{drawing_seconds:.0f} s that they still draw. {changes(before, sizes)}",
    )


def given_back(inputs: ScalingInput) -> ScalingDecision:
    """Everything is drawn: the students' devices go back, and those of idle teachers."""
    before, teacher = inputs.sizes, inputs.teacher
    decision = at_the_end(inputs)
    sizes = {**decision.sizes, "student": inputs.student.minimum}
    if not teacher.queued:
        sizes["teacher"] = max(teacher.minimum, min(teacher.size, teacher.running))
    if sizes == before:
        return decision
    return ScalingDecision(
        sizes, decision.reason or f"everything is drawn: {changes(before, sizes)}"
    )
