"""How many actors each pool should have, from measured facts: pure, with reasons.

The work of a job is fixed, so its time is the work over the devices, plus the time in which devices
idle and load. The rejected rows that wait for the teacher are a buffer between student and teacher:
as long as it is neither empty nor full nobody idles, whatever the sizes, and the sizes stay.

    the buffer is about to run empty   the teachers will idle: more students, or let them idle
    it is about to be full             the students will wait: fewer students, or let them wait
    the last rows are drawn            the students idle: their devices go to the teachers

Where the rest of the job is short, and all that it will reject may wait, `look_ahead` takes each
number of students to the job's end, up to drawing everything first. In a longer job, or where parts
should be finished early, the pipeline is steady: at the first two limits, `pricing` prices the
numbers of students that could be right to the end of the
job, in device-seconds: devices that idle, actors that load, the hand-over at the end. The cheapest
is taken if it saves enough more than it costs. At the third, `end_game` deals out the waiting
batches in whole: an actor that would load too long to help is not started. Where an autoscaler
brings and takes devices, `elastic` decides instead.
"""

from __future__ import annotations

from jobs.scaling.decision import ScalingDecision, ScalingInput
from jobs.scaling.elastic import as_needed, given_back
from jobs.scaling.end_game import at_the_end
from jobs.scaling.look_ahead import LookAhead, is_short, seconds_of_work
from jobs.scaling.pricing import Pricing

DECIDE_SECONDS = 0.5
"""Between two decisions. An actor takes seconds to load, so deciding more often gains nothing, and
a decision costs the driver about as much as a call."""

PAUSE = 0.005
"""Of a short rest: the time to the next decision, which takes some milliseconds. Chosen: a move
that comes by so much later costs less than that, as it moves a part of the devices."""


PAUSE_OF_AN_ACTOR = 0.0005
"""Seconds, of each actor. Chosen: a decision looks at them all, and on 4,096 GPUs there is one in
two seconds, in which two calls in a thousand end."""


def pause(inputs: ScalingInput) -> float:
    """Seconds until the next decision."""
    seconds = max(DECIDE_SECONDS, PAUSE_OF_AN_ACTOR * sum(inputs.sizes.values()))
    if inputs.last_draws or not looks_ahead(inputs):
        return seconds
    return max(seconds, PAUSE * seconds_of_work(inputs))


def decide(inputs: ScalingInput) -> ScalingDecision:
    """The sizes from now on."""
    if inputs.capacity.elastic:
        return as_needed(inputs) if inputs.rows_to_draw > 0 else given_back(inputs)
    if inputs.last_draws:
        return at_the_end(inputs)
    chosen = LookAhead if looks_ahead(inputs) else Pricing
    return chosen(inputs).decision()


def looks_ahead(inputs: ScalingInput) -> bool:
    """Whether the decision takes the rest of the job to its end, with every actor."""
    return is_short(inputs) and not inputs.early_parts and not inputs.capacity.elastic
