"""Balance in whole jobs on a virtual clock; the runner, the dispatcher and the pools are real.

The bound is the students' and teachers' own seconds spread evenly over the GPUs. The clock starts
when the first actors have loaded; the time includes later loading, the start and the tail.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from tests.unit.jobs.timed_runs import PROFILES, timed_run


@pytest.fixture(autouse=True, scope="module")
def _no_log() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("profile", "gpus", "num_rows"),
    [("sd", 8, 16384), ("sd", 16, 20480), ("sdxl", 8, 6144), ("sdxl", 16, 12288)],
)
def test_published_profiles_come_near_the_bound(profile: str, gpus: int, num_rows: int) -> None:
    run = timed_run(gpus=gpus, profile=profile, num_rows=num_rows)
    assert run.ratio <= 1.06
    assert len(run.starts) <= gpus // 2, "few actors load meanwhile"


def test_a_fraction_that_jumps_is_followed() -> None:
    """From 0.05 to 0.75 halfway; an actor loads as long as 30 batches of a student."""
    load = 30 * PROFILES["sd"][0]
    run = timed_run(
        rejected=lambda row: 0.05 if row < 8192 else 0.75, expected=0.4, load=load, num_rows=16384
    )
    assert run.ratio <= 1.12
    students = [sizes[0] for sizes in run.sizes]
    assert max(students) >= 4, "many students while little is rejected"
    assert min(students) == 0


@pytest.mark.parametrize("rejected", [0.1, 0.3])
def test_no_fixed_split_is_faster_even_in_hindsight(rejected: float) -> None:
    def seconds(students: int) -> float:
        sizes = (students, max(1, students // 2), 8 - students)
        return timed_run(rejected=rejected, num_rows=8192, sizes=sizes).seconds

    ours = timed_run(rejected=rejected, num_rows=8192)
    assert ours.seconds <= 1.02 * min(seconds(students) for students in range(1, 5))


def test_a_small_object_store_is_used_in_phases() -> None:
    """The students wait for room when it is full, so their GPU moves back and forth, slowly. Of two
    who draw the last batches one goes first."""
    run = timed_run(store_bytes=8000.0)
    assert run.ratio <= 1.06
    assert [sizes[0] for sizes in run.sizes] == [2, 1, 2, 1, 0]


def test_noise_around_a_boundary_moves_little() -> None:
    """At 0.22 the best number of students is between one and two; the fraction jumps about it."""
    random = Random(5)
    chances = [random.choice([0.14, 0.3]) for _ in range(48)]
    run = timed_run(rejected=lambda row: chances[row // 512], expected=0.22, num_rows=24576)
    assert run.ratio <= 1.06
    assert len(run.sizes) <= 5
    assert len(run.starts) <= 8


def test_nothing_rejected_although_much_was_expected() -> None:
    """No teacher was ever timed; their GPUs go to students all the same."""
    run = timed_run(rejected=lambda row: 0.0, num_rows=16384, load=5.0)
    fixed = timed_run(rejected=lambda row: 0.0, num_rows=16384, load=5.0, sizes=(2, 1, 6))
    assert run.seconds < 0.6 * fixed.seconds


def test_everything_rejected() -> None:
    assert timed_run(rejected=1.0, num_rows=4096).ratio <= 1.06


def test_one_gpu_for_whole_actors_is_used_in_phases() -> None:
    """Student and teacher do not fit on it together: everything is drawn, then refined."""
    whole = {"student": {"gpus_per_actor": 0.9}, "teacher": {"gpus_per_actor": 0.9}}
    run = timed_run(gpus=1, num_rows=2048, pools=whole)
    assert [(students, teachers) for students, _, teachers in run.sizes] == [(1, 0), (0, 1)]
    assert run.ratio <= 1.06


def test_on_one_shared_gpu_nothing_moves() -> None:
    shares = {"student": 0.45, "oracle": 0.1, "teacher": 0.45}
    run = timed_run(gpus=1, num_rows=1024, shares=shares)
    assert run.sizes == [(1, 1, 1)]


def test_actors_share_gpus_half_and_half() -> None:
    """And a teacher that takes a whole one does not get the half that a student leaves."""
    halves = {name: {"gpus_per_actor": 0.5} for name in ("student", "oracle", "teacher")}
    shares = dict.fromkeys(halves, 0.5)
    run = timed_run(gpus=4, num_rows=4096, pools=halves, shares=shares)
    assert run.sizes[0] == (2, 1, 5)
    assert run.sizes[-1] == (0, 1, 7)
    halves["teacher"] = {"gpus_per_actor": 1.0}
    whole = timed_run(gpus=4, num_rows=2048, pools=halves, shares={**shares, "teacher": 1.0})
    assert whole.sizes == [(1, 1, 3)]


def test_fixed_sizes_and_limits_hold() -> None:
    run = timed_run(num_rows=8192, pools={"student": {"size": 2}, "teacher": {"max_size": 6}})
    assert {sizes[0] for sizes in run.sizes} == {2}
    assert max(sizes[2] for sizes in run.sizes) <= 6
    assert timed_run(num_rows=2048, sizes=(1, 1, 7)).sizes == [(1, 1, 7)]


def test_the_timeline_has_every_change_with_its_reason() -> None:
    timeline = timed_run(num_rows=8192).timeline
    assert timeline[0]["reason"] == "the job begins"
    assert len(timeline) > 1
    for before, after in pairwise(timeline):
        assert after["sizes"] != before["sizes"]
        assert after["seconds"] > before["seconds"]
        assert len(after["reason"]) > 20
