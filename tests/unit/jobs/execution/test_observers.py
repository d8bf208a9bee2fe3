"""Observers see the kinds of events that they were added for, and change nothing."""

from __future__ import annotations

import logging

import pytest

from actors.errors import OutputFailedError
from jobs.execution.executor import ErrorKind
from jobs.execution.observers import (
    EVENT_KINDS,
    ActorDied,
    ActorLoaded,
    ActorNotLoaded,
    CallEnded,
    CallFailed,
    CallSent,
    JobEvent,
    MicroBatchHalved,
    Observers,
    PartCommitted,
    SizesChanged,
    Stopping,
    Timeline,
    log_event,
)
from jobs.execution.stages import Stage
from jobs.simulation.job import SimulatedOutput
from tests.simulation.fault_plans import make_fault_plan
from tests.simulation.trials import run_trial

LOADED = ActorLoaded("student", 3.0, 1, 2)
DIED = ActorDied("teacher", "its node died")
SIZES = SizesChanged(
    seconds=1.23456,
    sizes={"student": 2, "oracle": 1, "teacher": 5},
    rejected=0.30001,
    row_seconds={"student": 0.123456},
    queued={"student": 3, "oracle": 0, "teacher": 0},
    reason="the job begins",
)


def test_an_observer_sees_its_kinds_in_order() -> None:
    observers = Observers()
    all_of_them: list[JobEvent] = []
    deaths: list[JobEvent] = []
    observers.add(all_of_them.append)
    observers.add(deaths.append, only=(ActorDied,))
    assert len(observers.watching(ActorLoaded)) == 1
    for event in (LOADED, DIED):
        observers.notify(event)
    assert all_of_them == [LOADED, DIED]
    assert deaths == [DIED]


def test_an_observer_that_is_added_late_sees_what_comes_then() -> None:
    observers = Observers()
    observers.notify(LOADED)
    late: list[JobEvent] = []
    observers.add(late.append)
    observers.notify(LOADED)
    assert late == [LOADED]


def test_a_broken_observer_is_dropped_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[JobEvent] = []

    def broken(event: JobEvent) -> None:
        calls.append(event)
        raise ZeroDivisionError("a dashboard's own mistake")

    observers = Observers()
    seen: list[JobEvent] = []
    observers.add(broken, seen.append)
    observers.notify(LOADED)
    observers.notify(DIED)
    assert calls == [LOADED]
    assert seen == [LOADED, DIED]
    assert "ZeroDivisionError: a dashboard's own mistake" in caplog.text


def test_an_observer_that_writes_the_output_may_end_the_job() -> None:
    def full(_: JobEvent) -> None:
        raise OutputFailedError("the disk is full")

    observers = Observers()
    observers.add(full)
    with pytest.raises(OutputFailedError, match="full"):
        observers.notify(LOADED)


def test_the_log_has_a_line_for_each_event_that_people_want(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="bottega")
    record = {"rows": 8, "refined": 3, "failed": 1}
    for event in (
        LOADED,
        DIED,
        MicroBatchHalved("teacher", 8, 4),
        PartCommitted(2, record, {19: "draw: poison"}, ids={19: "cat-7"}),
        PartCommitted(2, {**record, "rungs": [8, 5, 3]}, {20: "draw: poison"}),
        SIZES,
    ):
        log_event(event)
    lines = [line.getMessage() for line in caplog.records]
    assert lines[0] == "student: an actor is ready (1 of 2)"
    assert lines[1] == "teacher: an actor is replaced: its node died"
    assert lines[2].startswith("teacher: out of memory with 8 rows at once; from now on 4.")
    assert lines[3:7] == [
        "part 2 is done: 8 rows, 3 refined by the teacher, 1 failed",
        "row 19 (id 'cat-7') failed: draw: poison",
        "part 2 is done: 8 rows, with attempt 1 on 8, attempt 2 on 5 and attempt 3 on 3 of them, "
        "1 failed",
        "row 20 failed: draw: poison",
    ]
    assert lines[7] == "2 student, 1 oracle, 5 teacher: the job begins"


def test_the_timeline_has_the_changes_of_sizes_and_nothing_else() -> None:
    output = SimulatedOutput()
    timeline = Timeline(output)
    timeline(LOADED)
    timeline(SIZES)
    assert output.timeline == [
        {
            "seconds": 1.235,
            "sizes": {"student": 2, "oracle": 1, "teacher": 5},
            "rejected": 0.3,
            "row_seconds": {"student": 0.12346},
            "queued": {"student": 3, "oracle": 0, "teacher": 0},
            "reason": "the job begins",
        }
    ]


def test_a_job_under_faults_shows_every_kind_of_event() -> None:
    """Each kind that the fault trials can bring about; sizes are shown by the balanced trials. A
    model that does not load and a stop are no faults of these trials."""
    seen: dict[type, JobEvent] = {}
    for seed in range(120):
        run_trial(make_fault_plan(seed), observer=lambda event: seen.update({type(event): event}))
    assert set(EVENT_KINDS) - seen.keys() == {ActorNotLoaded, Stopping}


def test_calls_and_failures_say_where_and_for_how_long() -> None:
    events: list[JobEvent] = []
    for seed in range(40):
        run_trial(make_fault_plan(seed), observer=events.append)
    ended = [event for event in events if isinstance(event, CallEnded)]
    assert {event.call.stage for event in ended} == set(Stage)
    assert all((event.actor is None) == (event.pool == "files") for event in ended)
    assert all(event.seconds >= 0 and event.queue_seconds >= 0 for event in ended)
    assert any(event.queue_seconds > 0 for event in ended)
    failed = [event for event in events if isinstance(event, CallFailed)]
    # Also the calls of a dead actor, and those whose input was lost while they waited.
    kinds = {event.kind for event in failed}
    assert {ErrorKind.RAISED, ErrorKind.DIED, ErrorKind.OBJECT_LOST} <= kinds
    sent = [event for event in events if isinstance(event, CallSent)]
    assert len(sent) >= len(ended)


def test_a_model_that_does_not_load_is_no_actor_that_is_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_event(ActorNotLoaded("oracle", "no such file"))
    assert caplog.messages == ["oracle: an actor cannot load its model: no such file"]
