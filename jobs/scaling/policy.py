"""How many actors each pool should have, from what is measured: pure, with reasons.

The work of a job is fixed, so its time is the work over the devices, plus what devices idle and
load. The rejected rows that wait for the teacher are a buffer between student and teacher: as long
as it is neither empty nor full nobody idles, whatever the sizes, and so there is nothing to decide.

    the buffer is about to run empty   the teachers will idle: more students, or let them idle
    it is about to be full             the students will wait: fewer students, or let them wait
    everything is drawn                the students idle: their devices go to the teachers

At the first two the numbers of students that could be right are priced to the end of the job, in
device-seconds: the devices that idle, the actors that load, the hand-over at the end. The cheapest
is taken if it saves enough more than it costs. At the end the sizes follow from how the waiting
batches can be dealt out in whole: an actor that would load too long to help is not started.
"""

from __future__ import annotations

from jobs.scaling.decision import ScalingDecision, ScalingInput
from jobs.scaling.elastic import as_needed, given_back
from jobs.scaling.end_game import at_the_end
from jobs.scaling.pricing import Pricing


def decide(outlook: ScalingInput) -> ScalingDecision:
    """The sizes from now on."""
    if outlook.capacity.elastic:
        return as_needed(outlook) if outlook.rows_to_draw > 0 else given_back(outlook)
    return Pricing(outlook).decision() if outlook.rows_to_draw > 0 else at_the_end(outlook)
