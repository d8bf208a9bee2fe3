"""First sizes: the job file has precedence, and no device is taken twice."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.pool_settings import PoolSettings, PoolsSettings
from jobs.scaling.initial_sizes import Loads, PoolPlans, by_group, plan_pools
from jobs.scaling.places import capacity_of

NONE = PoolsSettings()


def total(plans: PoolPlans, what: str) -> float:
    return sum(p.size * getattr(p, what) for p in (plans.student, plans.oracle, plans.teacher))


@given(st.integers(1, 256))
def test_cores_are_not_oversubscribed(cores: int) -> None:
    plans = plan_pools(NONE, cpus=cores, gpus=0)
    assert total(plans, "cpus") <= cores
    assert total(plans, "threads") <= max(cores, 4)


@given(st.integers(1, 64), st.integers(1, 256))
def test_gpus_and_their_cores_are_not_oversubscribed(gpus: int, cores: int) -> None:
    plans = plan_pools(NONE, cpus=cores, gpus=gpus)
    assert total(plans, "gpus") <= gpus
    actors = plans.student.size + plans.oracle.size + plans.teacher.size
    assert total(plans, "cpus") <= max(cores, 0.1 * actors) + 1e-9
    assert min(plans.student.size, plans.oracle.size, plans.teacher.size) >= 1


@given(st.integers(1, 16), st.floats(0.001, 1.0))
def test_a_teacher_that_will_be_needed_is_there_or_may_come(gpus: int, rejected: float) -> None:
    """Or the first rejected rows would never leave the buffer."""
    loads = Loads(student=7, oracle=2, teacher=106, rejected=rejected)
    plans = plan_pools(NONE, cpus=64, gpus=gpus, loads=loads)
    assert plans.teacher.size >= 1 or plans.capacity is not None
    assert plans.student.size >= 1
    assert plans.oracle.size >= 1
    assert total(plans, "gpus") <= gpus


def test_the_job_file_has_precedence() -> None:
    pools = PoolsSettings(teacher=PoolSettings(size=3, gpus_per_actor=0.25, threads_per_actor=2))
    for gpus in (0, 8):
        teacher = plan_pools(pools, cpus=8, gpus=gpus).teacher
        assert (teacher.size, teacher.gpus, teacher.threads) == (3, 0.25, 2)
        assert "job file" in teacher.reason


@pytest.mark.parametrize("gpus", [0, 4])
def test_a_pool_goes_to_the_nodes_that_are_labelled_for_it(gpus: int) -> None:
    labels = {"student": gpus / 2, "teacher": gpus / 2}
    plans = plan_pools(NONE, 32, gpus, labels)
    assert plans.teacher.node_label == {"bottega-pool": "teacher"}
    assert plans.oracle.node_label == {"bottega-pool": "student"}
    assert plan_pools(NONE, 32, gpus).teacher.node_label == {}
    own = PoolsSettings(teacher=PoolSettings(node_label={"zone": "a"}))
    assert plan_pools(own, 32, gpus, labels).teacher.node_label == {"zone": "a"}


def test_the_first_sizes_follow_the_models_and_the_budget() -> None:
    """SD-Turbo and Stable Diffusion 1.5: 7 and 106 evaluations a row with encoding and decoding."""
    sd = Loads(student=7, oracle=2, teacher=106, rejected=0.3)
    assert plan_pools(NONE, 64, 8, loads=sd).sizes == {"student": 2, "oracle": 1, "teacher": 6}
    rarely = plan_pools(NONE, 64, 8, loads=replace(sd, rejected=0.02)).sizes
    assert rarely["student"] > rarely["teacher"] >= 1
    never = plan_pools(NONE, 64, 8, loads=replace(sd, rejected=0.0)).sizes
    assert (never["student"], never["teacher"]) == (8, 0)


def test_one_gpu_holds_all_three_or_one_after_the_other() -> None:
    together = plan_pools(NONE, 8, 1)
    assert together.sizes == {"student": 1, "oracle": 1, "teacher": 1}
    assert together.capacity is None, "nothing is to be moved"
    whole = PoolSettings(gpus_per_actor=0.9)
    phases = plan_pools(PoolsSettings(student=whole, teacher=whole), 8, 1)
    assert phases.sizes == {"student": 1, "oracle": 1, "teacher": 0}
    assert phases.capacity is not None


def test_student_and_oracle_on_one_gpu() -> None:
    half, own = PoolSettings(gpus_per_actor=0.5), PoolSettings(gpus_per_actor=1.0)
    plans = plan_pools(PoolsSettings(student=half, oracle=half, teacher=own), 16, 2)
    assert plans.sizes == {"student": 1, "oracle": 1, "teacher": 1}


def test_nodes_of_a_pool_are_for_it_alone() -> None:
    plans = plan_pools(NONE, 64, 9, {"student": 2.0, "teacher": 7.0})
    assert plans.sizes["student"] == 2
    assert plans.sizes["teacher"] == 7
    assert plans.capacity is not None
    assert not plans.capacity.fits({"student": 3, "oracle": 1, "teacher": 1})


def test_minima_and_maxima_hold_from_the_beginning() -> None:
    pools = PoolsSettings(student=PoolSettings(min_size=3), teacher=PoolSettings(max_size=2))
    sizes = plan_pools(pools, 64, 8).sizes
    assert sizes["student"] >= 3
    assert sizes["teacher"] <= 2


def test_few_cores_keep_their_sizes_and_many_are_balanced() -> None:
    assert plan_pools(NONE, 2, 0).capacity is None
    many = plan_pools(NONE, 64, 0)
    assert many.capacity is not None
    assert many.capacity.unit == "core"
    assert many.capacity.fits(many.sizes)


@pytest.mark.parametrize("fields", [{"size": 2, "min_size": 1}, {"min_size": 3, "max_size": 2}])
def test_sizes_that_contradict_each_other_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="size"):
        PoolSettings(**fields)


def test_a_cluster_that_grows_is_planned_as_large_as_its_pools_may_become() -> None:
    pools = PoolsSettings(
        grow=True, student=PoolSettings(max_size=2), teacher=PoolSettings(max_size=6)
    )
    labelled = plan_pools(pools, 8, 1, {"student": 1.0})
    assert labelled.capacity is not None
    assert {tuple(sorted(d.pools)): d.count for d in labelled.capacity.devices} == {
        ("oracle", "student"): 2,
        ("teacher",): 6,
    }
    assert labelled.teacher.node_label == {"bottega-pool": "teacher"}
    plain = plan_pools(pools, 8, 0)
    assert plain.capacity is not None
    assert plain.capacity.count == 8
    assert plain.teacher.node_label == {}


def test_a_cluster_that_grows_begins_with_the_teachers_that_are_needed() -> None:
    pools = PoolsSettings(
        grow=True, student=PoolSettings(max_size=2), teacher=PoolSettings(max_size=30)
    )
    few = plan_pools(pools, 8, 1, loads=Loads(student=1, oracle=0.2, teacher=16, rejected=0.1))
    assert few.sizes == {"student": 2, "oracle": 1, "teacher": 4}  # 3.2 busy


def test_a_cluster_that_grows_needs_a_limit() -> None:
    with pytest.raises(ValidationError, match=r"grow: how far\? Give pools\.teacher\.max_size"):
        PoolsSettings(grow=True, student=PoolSettings(size=1))


def test_a_pool_whose_own_nodes_have_not_joined_gets_them_when_they_do() -> None:
    """As with ray_config.yaml: the students' node is there, the teachers' is not."""
    plans = plan_pools(PoolsSettings(), 16, 2, {"student": 2.0})
    assert plans.sizes["teacher"] == 0
    assert plans.places is not None
    teachers = frozenset({"teacher"})
    joined = by_group(5.0, {"student": 2.0})
    assert joined[teachers] == 3.0
    could = capacity_of(plans.places, plans.sizes, {teachers: 3.0}, joined)
    assert could.fits({**plans.sizes, "teacher": 3})


def test_a_short_job_begins_with_more_students_than_a_long_one() -> None:
    """Its last batches are then dealt out to all GPUs."""

    def students(rows: float) -> int:
        calls = {"draw_rows": 8, "refine_rows": 8}
        loads = Loads(student=1, teacher=20, rejected=0.1, rows=rows, **calls)  # type: ignore[arg-type]
        return plan_pools(PoolsSettings(), cpus=256, gpus=64, loads=loads).student.size

    assert students(1_000_000) == students(inf) == 22
    assert 22 < students(2_000) <= 40
    # No more than have a call.
    assert students(100) <= 22


def test_the_fraction_is_as_sure_as_its_sample() -> None:
    """A binomial's deviation over the sample, of which the rows are rows of the job."""
    few = Loads(rejected=0.2, rows=1e9, sample_rows=100)
    assert few.surprise(0.0) == 0.2
    assert few.surprise(1.0) == pytest.approx(0.24)
    assert few.surprise(-9.0) == 0.0
    half = Loads(rejected=0.2, rows=200, sample_rows=100)
    assert half.surprise(1.0) == pytest.approx(0.2 + 0.04 / 2**0.5)
    assert Loads(rejected=0.2, rows=100, sample_rows=100).surprise(2.0) == 0.2


def test_a_teacher_loads_beside_the_students_where_little_is_rejected() -> None:
    rare = Loads(student=1, teacher=2, rejected=0.02)
    assert plan_pools(PoolsSettings(), cpus=64, gpus=8, loads=rare).teacher.size == 1
    # Of two GPUs it would take half of the drawing.
    assert plan_pools(PoolsSettings(), cpus=64, gpus=2, loads=rare).teacher.size == 0
    never = Loads(student=1, teacher=2, rejected=0.0)
    assert plan_pools(PoolsSettings(), cpus=64, gpus=8, loads=never).teacher.size == 0
