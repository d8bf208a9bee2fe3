"""How many actors each pool should have, from measured facts: pure, with reasons.

The work of a job is fixed, so its time is the work over the devices, plus the time in which devices
idle and load. The rejected rows that wait for the teacher are a buffer between student and teacher:
as long as it is neither empty nor full nobody idles, whatever the sizes, and the sizes stay.

    the buffer is about to run empty   the teachers will idle: more students, or let them idle
    it is about to be full             the students will wait: fewer students, or let them wait
    everything is drawn                the students idle: their devices go to the teachers

At the first two, `pricing` prices the numbers of students that could be right to the end of the
job, in device-seconds: devices that idle, actors that load, the hand-over at the end. The cheapest
is taken if it saves enough more than it costs. At the third, `end_game` deals out the waiting
batches in whole: an actor that would load too long to help is not started. Where an autoscaler
brings and takes devices, `elastic` decides instead.
"""

from __future__ import annotations

from jobs.scaling.decision import ScalingDecision, ScalingInput
from jobs.scaling.elastic import as_needed, given_back
from jobs.scaling.end_game import at_the_end
from jobs.scaling.pricing import Pricing


def decide(inputs: ScalingInput) -> ScalingDecision:
    """The sizes from now on."""
    if inputs.capacity.elastic:
        return as_needed(inputs) if inputs.rows_to_draw > 0 else given_back(inputs)
    return Pricing(inputs).decision() if inputs.rows_to_draw > 0 else at_the_end(inputs)
