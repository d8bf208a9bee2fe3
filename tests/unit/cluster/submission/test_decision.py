"""Submitting a job twice: every state of Ray and of the output, without either."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.submission.decision import (
    Action,
    RayStatus,
    Request,
    Submission,
    decide,
    standing,
)
from jobs.output.status import JobStatus, OutputState, State, judge

JOB = "bottega-a-0123456789"
NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)


def attempt(status: RayStatus, number: int = 1, **fields: object) -> Submission:
    name = JOB if number == 1 else f"{JOB}.{number}"
    return replace(Submission(submission_id=name, ray_status=status), **fields)  # type: ignore[arg-type]


def output(
    state: State, silent: float = 0.0, job: str = JOB, submission_id: str = JOB, number: int = 1
) -> OutputState:
    """An output whose driver wrote `state` last."""
    status = JobStatus(
        id=job, name="a", attempt=number, submission_id=submission_id, state=state, reason="so",
        host="head", pid=7, started_at=NOW, heartbeat_at=NOW,
    )  # fmt: skip
    return judge(status, silent, finished=state is State.SUCCEEDED)


ELSEWHERE = output(State.RUNNING, submission_id="")
LOST = output(State.RUNNING, silent=1e3)
ENDED = (RayStatus.STOPPED, RayStatus.FAILED)


@pytest.mark.parametrize(
    ("ray", "there", "action", "submission_id", "reason"),
    [
        (None, None, Action.START, JOB, "it starts"),
        (RayStatus.PENDING, None, Action.ATTACH, JOB, "it is pending"),
        (RayStatus.RUNNING, None, Action.ATTACH, JOB, "it is running: its driver starts"),
        (RayStatus.RUNNING, output(State.RUNNING), Action.ATTACH, JOB, "it is running"),
        (RayStatus.RUNNING, output(State.STOPPING), Action.ATTACH, JOB, "it is stopping"),
        (RayStatus.RUNNING, LOST, Action.ATTACH, JOB, "Ray says it runs, and it wrote nothing"),
        (RayStatus.SUCCEEDED, None, Action.DONE, JOB, "its driver ended well"),
        (RayStatus.SUCCEEDED, output(State.SUCCEEDED), Action.DONE, JOB, "every part is there"),
        (None, output(State.SUCCEEDED), Action.DONE, JOB, "every part is there"),
        (None, ELSEWHERE, Action.ATTACH, "", "process 7 on head, which is no job of this cluster"),
        # A job of another cluster: nothing here knows it by its id.
        (None, output(State.RUNNING), Action.ATTACH, "", "which is no job of this cluster"),
        (None, LOST, Action.START, f"{JOB}.2", "lost, its driver, process 7 on head"),
        (None, output(State.FAILED), Action.START, f"{JOB}.2", "failed, so"),
        (None, output(State.CANCELLED), Action.START, f"{JOB}.2", "cancelled, so"),
        (RayStatus.FAILED, output(State.FAILED), Action.START, f"{JOB}.2", "failed, so"),
        (RayStatus.FAILED, None, Action.START, f"{JOB}.2", "failed"),
        (RayStatus.STOPPED, None, Action.START, f"{JOB}.2", "cancelled, stopped"),
        # Ray saw the end of a driver that still seems to be alive.
        (RayStatus.FAILED, output(State.RUNNING), Action.START, f"{JOB}.2", "failed"),
        (RayStatus.STOPPED, output(State.RUNNING), Action.START, f"{JOB}.2", "cancelled"),
        # Parts are gone since.
        (
            None,
            judge(output(State.SUCCEEDED).status, 0, False),
            Action.START,
            f"{JOB}.2",
            "missing",
        ),
        (None, judge(None, 0, False), Action.START, JOB, "lost, parts are missing"),
        (None, judge(None, 0, True), Action.DONE, "", "every part is there"),
    ],
)
def test_submit_twice(
    ray: RayStatus | None,
    there: OutputState | None,
    action: Action,
    submission_id: str,
    reason: str,
) -> None:
    submissions = [attempt(ray)] if ray else []
    found = decide(Request(JOB), submissions, there)
    assert (found.action, found.submission_id) == (action, submission_id)
    assert reason in found.reason


@pytest.mark.parametrize("ray", [None, *RayStatus])
@pytest.mark.parametrize("there", [None, *State])
def test_no_second_driver_while_one_may_be_alive(
    ray: RayStatus | None, there: State | None
) -> None:
    seen = output(there) if there and there is not State.PENDING else None
    submissions = [attempt(ray)] if ray else []
    found = decide(Request(JOB), submissions, seen)
    ray_has_it = ray in (RayStatus.PENDING, RayStatus.RUNNING)
    elsewhere = ray is None and seen is not None and seen.state.is_active
    assert (found.action is Action.ATTACH) == (ray_has_it or elsewhere)
    assert found.reason


def test_another_job_on_the_same_output_is_refused() -> None:
    held = decide(Request(JOB), [], output(State.FAILED), differs=["seed: was 7, is 8"])
    assert held.action is Action.REFUSE
    assert "seed: was 7, is 8" in held.reason
    other = Submission(submission_id="bottega-b-9876543210", ray_status=RayStatus.PENDING)
    busy = decide(Request(JOB), [], None, others=[other])
    assert busy.action is Action.REFUSE
    assert "bottega-b-9876543210" in busy.reason
    ended = replace(other, ray_status=RayStatus.FAILED)
    assert decide(Request(JOB), [], None, others=[ended]).action is Action.START
    alive = decide(Request(JOB), [], output(State.RUNNING, job="bottega-b-9876543210"))
    assert alive.action is Action.REFUSE


def test_an_input_that_grew_goes_on_and_a_retry_needs_failed_rows() -> None:
    done = output(State.SUCCEEDED)
    grown = decide(Request(JOB, extend=True), [attempt(RayStatus.SUCCEEDED)], done)
    assert (grown.action, grown.submission_id) == (Action.START, f"{JOB}.2")
    assert decide(Request(JOB, "retry"), [], None).action is Action.REFUSE
    again = decide(Request(JOB, "retry"), [attempt(RayStatus.SUCCEEDED)], done)
    assert (again.action, again.submission_id) == (Action.START, f"{JOB}.2")
    running = decide(Request(JOB, "retry"), [attempt(RayStatus.RUNNING, 2)], done)
    assert (running.action, running.submission_id) == (Action.ATTACH, f"{JOB}.2")


def test_a_calibration_is_measured_once_and_needs_no_output() -> None:
    assert decide(Request(JOB, "calibrate"), [], None).action is Action.START
    done = decide(Request(JOB, "calibrate"), [attempt(RayStatus.SUCCEEDED)], None)
    assert done.action is Action.DONE
    failed = decide(Request(JOB, "calibrate"), [attempt(RayStatus.FAILED)], None)
    assert failed.submission_id == f"{JOB}.2"


@given(st.lists(st.sampled_from(list(ENDED)), max_size=5), st.integers(0, 5))
def test_an_attempt_never_has_a_number_that_was_used(ended: list[RayStatus], written: int) -> None:
    """Also where the cluster was started anew and knows fewer of them than the output."""
    submissions = [attempt(status, number + 1) for number, status in enumerate(ended)]
    there = output(State.FAILED, number=written, submission_id="") if written else None
    found = decide(Request(JOB), submissions, there)
    number = max(len(ended), written) + 1
    assert found.submission_id == (JOB if number == 1 else f"{JOB}.{number}")


@pytest.mark.parametrize(
    ("submission", "there", "state", "reason"),
    [
        (attempt(RayStatus.PENDING, message="waits for an agent"), None, State.PENDING, "an agent"),
        (attempt(RayStatus.FAILED, exit_code=4), None, State.CANCELLED, "parts are safe"),
        (attempt(RayStatus.FAILED, exit_code=-9), None, State.FAILED, "killed (signal 9)"),
        (
            attempt(RayStatus.FAILED, exit_code=2, message="code 2\nlog\nbottega: no\n  such file"),
            None, State.FAILED, "no\n  such file",
        ),
        (attempt(RayStatus.FAILED, exit_code=3), output(State.SUCCEEDED), State.SUCCEEDED, "so"),
        (attempt(RayStatus.STOPPED), output(State.CANCELLED), State.CANCELLED, "so"),
        # The output was written by an attempt that came before, or by one that came after.
        (attempt(RayStatus.RUNNING, 2), output(State.FAILED), State.RUNNING, "starts"),
        (attempt(RayStatus.FAILED), output(State.SUCCEEDED, number=2), State.SUCCEEDED, "so"),
    ],
)  # fmt: skip
def test_the_state_of_a_job_follows_from_ray_and_its_output(
    submission: Submission, there: OutputState | None, state: State, reason: str
) -> None:
    found = standing(submission, there)
    assert found is not None
    assert found.state is state
    assert reason in found.reason


def with_steps(state: State, steps: list[str], left: list[str], silent: float = 0.0) -> OutputState:
    """An output with every part, and these steps."""
    before = output(state)
    assert before.status is not None
    status = before.status.model_copy(update={"steps": steps, "steps_left": left})
    return judge(status, silent, finished=True)


STEP = "publish to s3://public"


@pytest.mark.parametrize(
    ("there", "action", "reason"),
    [
        (with_steps(State.SUCCEEDED, [STEP], []), Action.DONE, "every part is there"),
        (with_steps(State.SUCCEEDED, [], []), Action.START, f"every part is there; now: {STEP}"),
        (with_steps(State.FAILED, [STEP], [STEP]), Action.START, "goes on from its finished parts"),
        (with_steps(State.RUNNING, [STEP], [STEP], 1e3), Action.START, "goes on"),
    ],
)
def test_a_job_is_done_when_the_steps_that_follow_are_taken(
    there: OutputState, action: Action, reason: str
) -> None:
    decision = decide(Request(JOB, steps=(STEP,)), [attempt(RayStatus.FAILED)], there)
    assert (decision.action, reason in decision.reason) == (action, True), decision
    without = decide(Request(JOB), [attempt(RayStatus.FAILED)], there)
    assert (without.action is Action.DONE) is there.finished


def test_a_driver_that_was_killed_while_it_published_is_lost() -> None:
    found = with_steps(State.RUNNING, [STEP], [STEP], silent=1e3)
    assert (found.state, found.finished) == (State.LOST, False)
    assert with_steps(State.RUNNING, [STEP], [], silent=1e3).state is State.SUCCEEDED
