"""Decisions: when sizes move, how far, and when they stay. test_balanced_jobs runs whole jobs."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scaling.capacity import Capacity, Devices
from jobs.scaling.decision import PoolFacts, ScalingInput
from jobs.scaling.look_ahead import seconds_of_work
from jobs.scaling.policy import decide

EVERY = frozenset({"student", "oracle", "teacher"})


def make_inputs(
    sizes: tuple[int, int, int] = (2, 1, 6),
    gpus: int = 8,
    rejected: float = 0.3,
    rows: float = 10_000,
    waiting: float = 500,
    room: float = inf,
    queued: int = 30,
    load: float = 20.0,
    free_in: tuple[float, ...] = (),
) -> ScalingInput:
    """SD-Turbo and Stable Diffusion 1.5 in the middle of a job."""
    students, oracles, teachers = sizes
    shares = {"student": 0.9, "oracle": 0.1, "teacher": 0.9}
    return ScalingInput(
        capacity=Capacity((Devices(gpus, EVERY),), shares),
        student=PoolFacts(size=students, row_seconds=0.048, call_rows=16, load_seconds=load),
        oracle=PoolFacts(
            size=oracles, row_seconds=0.01, call_rows=16, load_seconds=load, minimum=1
        ),
        teacher=PoolFacts(
            size=teachers, row_seconds=0.805, call_rows=16, load_seconds=load, queued=queued
        ),
        rejected=rejected,
        rows_to_draw=rows,
        waiting=waiting,
        room=room,
        teachers_free_in=free_in,
    )


def elastic(inputs: ScalingInput) -> ScalingInput:
    """The same on a cluster that may grow to as many GPUs."""
    return replace(inputs, capacity=replace(inputs.capacity, elastic=True))


def sizes_of(inputs: ScalingInput) -> tuple[int, ...]:
    return tuple(decide(inputs).sizes.values())


def test_while_rows_wait_and_there_is_room_nothing_moves() -> None:
    for students in range(1, 8):
        assert sizes_of(make_inputs((students, 2, 8 - students), rows=1e6))[0] in (students, 2)
    assert decide(make_inputs()).reason == ""


def test_teachers_that_run_out_of_rows_make_room_for_a_student() -> None:
    decision = decide(make_inputs((1, 1, 7), waiting=0, rows=100_000))
    assert decision.sizes == {"student": 2, "oracle": 1, "teacher": 6}
    assert "the teachers run out of rejected rows now" in decision.reason
    assert "student 1 -> 2, teacher 7 -> 6" in decision.reason


def test_all_devices_draw_first_if_the_last_calls_are_then_dealt_out_evenly() -> None:
    """Sixteen rounds of drawing, 5 s of loading, five rounds of refining: nobody idles."""
    assert sizes_of(make_inputs((8, 3, 0), waiting=0, rows=2000, load=5.0))[0] == 8


@pytest.mark.parametrize(("load", "draws_ahead"), [(5.0, True), (2000.0, False)])
def test_a_short_job_draws_ahead_unless_actors_load_for_too_long(
    load: float, draws_ahead: bool
) -> None:
    inputs = make_inputs((1, 1, 7), waiting=0, rows=1000, load=load)
    decision = decide(inputs)
    assert (decision.sizes["student"] > 2) is draws_ahead
    assert ("ends the job in" in decision.reason) is draws_ahead
    early = decide(replace(inputs, early_parts=True))
    assert "ends the job in" not in early.reason
    assert early.sizes["student"] <= 2


def test_what_is_rejected_of_a_short_job_must_have_room() -> None:
    """Or nobody could draw everything first: then the pipeline is steady."""
    inputs = make_inputs((1, 1, 7), waiting=0, rows=1000, load=0.5)
    assert decide(replace(inputs, room=20.0)).sizes["student"] <= 2


def test_at_the_end_what_is_still_being_judged_is_expected() -> None:
    inputs = make_inputs((4, 1, 4), rows=0, queued=5, waiting=200, free_in=(0.0,) * 4, load=1.0)
    assert sizes_of(inputs) == (3, 1, 5)
    assert sizes_of(replace(inputs, judged_soon=True))[2] > 5


def test_a_full_buffer_sends_students_away() -> None:
    decision = decide(make_inputs((2, 1, 6), rows=100_000, waiting=5000, room=0))
    assert decision.sizes == {"student": 1, "oracle": 1, "teacher": 7}
    assert "no room for more rejected rows" in decision.reason


def test_a_move_that_costs_more_than_it_saves_is_not_made() -> None:
    """Sixty rows are left: the teachers would idle for less than a student loads."""
    assert sizes_of(make_inputs((1, 1, 7), waiting=0, rows=60)) == (1, 1, 7)
    assert sizes_of(make_inputs((1, 1, 7), waiting=0, load=100_000.0)) == (1, 1, 7)


def test_many_gpus_move_at_once_when_the_fraction_jumps() -> None:
    decision = decide(make_inputs((5, 3, 3), rejected=0.75, rows=50_000, waiting=5000, room=0))
    assert decision.sizes["student"] <= 1
    assert decision.sizes["teacher"] >= 7


@pytest.mark.parametrize(("rejected", "expected"), [(0.0, (8, 0)), (1.0, (1, 7))])
def test_nothing_and_everything_rejected(rejected: float, expected: tuple[int, int]) -> None:
    inputs = make_inputs((3, 4, 5), rejected=rejected, rows=20_000, waiting=0, room=inf)
    if rejected:
        inputs = replace(inputs, waiting=5000, room=0.0)
    students, _, teachers = sizes_of(inputs)
    # With everything rejected 0.45 students are enough: one, or none for a while.
    assert (students, teachers) == expected or (rejected and (students, teachers) == (0, 8))


def test_at_the_end_the_students_gpus_go_to_the_teachers() -> None:
    decision = decide(make_inputs(rows=0, queued=60, free_in=(5.0,) * 6))
    assert decision.sizes == {"student": 0, "oracle": 1, "teacher": 8}
    assert "everything is drawn and 60 batches wait" in decision.reason


def test_idle_students_go_while_the_others_draw_the_last_rows() -> None:
    """Two of four students draw the last two batches; forty rejected ones wait."""
    inputs = make_inputs((4, 1, 4), rows=32, queued=40, waiting=640, free_in=(5.0,) * 4)
    drawing = replace(inputs.student, running=2)
    decision = decide(replace(inputs, student=drawing))
    assert decision.sizes == {"student": 2, "oracle": 1, "teacher": 6}
    assert "the last rows are drawn" in decision.reason
    queued = replace(drawing, queued=2)
    more = decide(replace(inputs, student=queued, rows_to_draw=64.0))
    assert "the last rows are drawn" not in more.reason, "two batches have no student yet"
    again = decide(replace(inputs, student=drawing, drawn_again=True))
    assert "the last rows are drawn" not in again.reason, "the others will draw what fails"


def test_rejected_rows_whose_batch_is_not_full_come_to_the_teachers() -> None:
    """Sixteen parts hold half a batch each: what they will have is no less than what is drawn."""
    few = make_inputs((7, 3, 1), rejected=0.02, waiting=0, rows=4000, load=5.0)
    many = replace(few, unbatched=1000.0)
    assert seconds_of_work(many) > 2 * seconds_of_work(few)
    assert sizes_of(few)[2] <= 1
    assert sizes_of(many)[2] > 1


def test_at_the_end_a_teacher_that_would_load_too_long_is_not_started() -> None:
    """Six batches wait and six teachers are free in 5 s: all is over before another has loaded."""
    assert sizes_of(make_inputs(rows=0, queued=6, free_in=(5.0,) * 6)) == (2, 1, 6)
    assert sizes_of(make_inputs(rows=0, queued=60, free_in=(5.0,) * 6, load=10_000)) == (2, 1, 6)
    assert sizes_of(make_inputs(rows=0, queued=0, free_in=(5.0,) * 6)) == (2, 1, 6)


def test_at_the_end_no_more_teachers_are_started_than_help() -> None:
    """One batch more than teachers: one more teacher is enough."""
    inputs = make_inputs((4, 1, 4), rows=0, queued=5, free_in=(0.0,) * 4, load=1.0)
    assert sizes_of(inputs) == (3, 1, 5)


def test_an_empty_pool_gets_an_actor_when_there_is_work() -> None:
    """A lost output is drawn again, or one GPU's last phase begins."""
    assert sizes_of(make_inputs((0, 1, 8), rows=16, waiting=0, queued=0))[0] == 1
    inputs = make_inputs((1, 1, 0), gpus=1, rows=0, queued=3)
    assert sizes_of(inputs) == (0, 1, 1)
    assert "the only way on" in decide(inputs).reason


def test_sizes_stay_within_the_job_files_limits() -> None:
    inputs = make_inputs((1, 1, 7), waiting=0)
    fixed = replace(inputs, student=replace(inputs.student, minimum=1, maximum=1))
    assert sizes_of(fixed) == (1, 1, 7)
    least = make_inputs(rows=0, queued=60, free_in=(5.0,) * 6)
    least = replace(least, student=replace(least.student, minimum=1))
    assert sizes_of(least) == (1, 1, 7)
    most = replace(inputs, teacher=replace(inputs.teacher, maximum=3, size=3), waiting=5000, room=0)
    assert sizes_of(most)[2] == 3


@given(
    gpus=st.integers(1, 40),
    students=st.integers(0, 40),
    rejected=st.floats(0, 1),
    rows=st.integers(0, 100_000),
    waiting=st.integers(0, 5000),
    room=st.sampled_from([0.0, 10.0, 3000.0, inf]),
    load=st.floats(0.1, 500),
)
def test_every_decision_fits_the_cluster(
    gpus: int, students: int, rejected: float, rows: int, waiting: int, room: float, load: float
) -> None:
    students = min(students, gpus)
    inputs = make_inputs(
        (students, 1, gpus - students), gpus, rejected, rows, waiting, room,
        queued=waiting // 16, load=load, free_in=(1.0,) * (gpus - students),
    )  # fmt: skip
    decision = decide(inputs)
    assert inputs.capacity.fits(decision.sizes)
    assert min(decision.sizes.values()) >= 0
    assert decision.sizes["oracle"] >= 1
    assert bool(decision.reason) == (decision.sizes != inputs.sizes)


def test_four_thousand_gpus_are_decided_quickly() -> None:
    inputs = make_inputs((600, 300, 3496), gpus=4096, rows=1e7, waiting=0, room=0)
    decision = decide(inputs)
    assert 600 < decision.sizes["student"] < 700


@pytest.mark.parametrize(
    ("rejected", "waiting", "teachers"),
    [
        (0.0, 0, 0),
        (0.05, 0, 1),  # 0.8 busy
        (0.3, 0, 6),  # 5.03 busy: they stay
        (0.6, 0, 11),  # 10.06 busy
        (1.0, 0, 14),  # 16.8 busy, and there is no room for more
        (0.3, 3000, 11),  # the rows that wait are spread over the time that is left
    ],
)
def test_on_a_cluster_that_grows_teachers_follow_the_fraction(
    rejected: float, waiting: float, teachers: int
) -> None:
    inputs = elastic(make_inputs((1, 1, 6), gpus=15, rejected=rejected, waiting=waiting))
    assert sizes_of(inputs) == (1, 1, teachers)


def test_a_need_that_wavers_around_a_whole_number_moves_nobody() -> None:
    for size in (5, 6):
        for rejected in (0.297, 0.298, 0.299, 0.302):  # 4.98 to 5.07 teachers busy
            inputs = elastic(make_inputs((1, 1, size), gpus=15, rejected=rejected, waiting=0))
            assert decide(inputs).reason == ""


def test_no_node_is_requested_that_would_load_until_everything_is_drawn() -> None:
    inputs = elastic(make_inputs((1, 1, 2), gpus=15, rows=400, waiting=0, load=60.0))
    assert sizes_of(inputs) == (1, 1, 2)
    assert sizes_of(replace(inputs, teacher=replace(inputs.teacher, load_seconds=5.0))) == (1, 1, 6)


def test_idle_actors_give_their_nodes_back() -> None:
    inputs = elastic(
        make_inputs((2, 1, 4), gpus=15, rows=0, waiting=0, queued=0, free_in=(9.0,) * 4)
    )
    busy = replace(inputs, teacher=replace(inputs.teacher, running=3))
    assert sizes_of(busy) == (0, 1, 3)
    assert sizes_of(replace(busy, student=replace(inputs.student, minimum=1))) == (1, 1, 3)
