"""Pool sizes: what the job file says goes first, and nothing is promised twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.settings import PoolSettings, PoolsSettings
from jobs.sizes import PoolPlans, plan_pools

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


def test_what_the_job_file_says_goes_first() -> None:
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
