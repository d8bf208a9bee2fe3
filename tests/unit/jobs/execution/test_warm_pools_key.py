"""The hash by which a job knows the actors that have its models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.models.presets import PRESETS
from actors.settings import MemberSettings, OracleSettings
from jobs.execution.warm_pools import is_known, key_of
from jobs.scaling.initial_sizes import PoolPlan

STUDENT = PRESETS["shapes"].student
PLAN = PoolPlan(size=3, gpus=0.9, cpus=1.0, threads=1, node_label={}, reason="three fit")


def key(**fields: Any) -> str:
    given = {"role": "student", "settings": STUDENT, "fingerprint": "f", "plan": PLAN}
    return key_of(**{**given, "environment": {}, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "teacher"},
        {"settings": STUDENT.model_copy(update={"steps": STUDENT.steps + 1})},
        {"settings": STUDENT.model_copy(update={"batch_size": 2})},
        {"fingerprint": "other files"},
        {"plan": replace(PLAN, threads=2)},
        {"plan": replace(PLAN, gpus=1.0)},
        {"plan": replace(PLAN, node_label={"bottega-pool": "student"})},
        {"environment": {"env_vars": {"DIFFUSERS_ATTN_BACKEND": "native"}}},
        {"environment": {"pip": ["torch==2.7.0"]}},
    ],
)
def test_all_that_a_load_or_a_picture_depends_on_is_in_it(fields: dict[str, Any]) -> None:
    assert key(**fields) != key()


@pytest.mark.parametrize(
    "fields",
    [
        {"plan": replace(PLAN, size=5, cpus=0.1, reason="another cluster")},
        {"environment": {"working_dir": "gcs://of_this_job.zip"}},
    ],
)
def test_what_is_of_a_job_alone_is_not(fields: dict[str, Any]) -> None:
    assert key(**fields) == key()


def test_an_oracle_of_ones_own_has_its_jobs_files() -> None:
    own = OracleSettings(kind="scores:Mine", batch_size=4)
    keys = {
        key(role="oracle", settings=own, environment={"working_dir": url}) for url in ("a", "b")
    }
    assert len(keys) == 2


@pytest.mark.parametrize("environment", [{}, {"env_vars": {"PYTHONPATH": "/mine"}}])
def test_what_an_own_oracle_imports_is_known_only_where_it_came_with_the_job(
    environment: dict[str, Any],
) -> None:
    """Another job's class may be the same, and what it imports at its first call another."""
    own = OracleSettings(kind="scores:Mine", batch_size=4)
    member = MemberSettings(kind="scores:Mine")
    members = (member, member.model_copy(update={"weight": 2.0}))
    ensemble = OracleSettings(kind="ensemble", members=members, batch_size=4)
    for settings in (own, ensemble):
        assert not is_known(settings, environment)
        assert is_known(settings, {**environment, "working_dir": "gcs://of_this_job.zip"})
    assert is_known(STUDENT, environment)
