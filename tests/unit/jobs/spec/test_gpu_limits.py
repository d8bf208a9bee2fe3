"""Fixed sizes, and no more GPUs than `max_gpus`."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import SpecError
from jobs.spec.gpu_limits import check_gpus
from jobs.spec.job_spec import make_spec

ONE_EACH = {name: {"size": 1} for name in ("student", "oracle", "teacher")}


def check(pools: dict[str, Any], max_gpus: int | None) -> None:
    fields: dict[str, Any] = {"input": "p.txt", "output": "out", "models": {"preset": "shapes"}}
    check_gpus(make_spec({**fields, "pools": pools, "max_gpus": max_gpus}))


@pytest.mark.parametrize(
    ("pools", "max_gpus", "needed"),
    [
        ({"student": {"size": 3}, "teacher": {"size": 2}}, 4, 5),
        ({"teacher": {"min_size": 3}}, 2, 3),
        ({"student": {"size": 2, "gpus_per_actor": 0.5}, "teacher": {"size": 1}}, 1, 2),
        ({"oracle": {"size": 11}}, 1, 2),
        ({**ONE_EACH, "teacher": {"size": 1, "gpus_per_actor": 0.9}}, 1, 2),
        ({"teacher": {"size": 2, "gpus_per_actor": 1}}, 1, 2),
    ],
)
def test_sizes_that_need_more_are_refused(
    pools: dict[str, Any], max_gpus: int, needed: int
) -> None:
    with pytest.raises(SpecError, match=f"need {needed} GPUs. Give max_gpus: {needed} or more"):
        check(pools, max_gpus)
    check(pools, needed)


@pytest.mark.parametrize(
    ("pools", "max_gpus"),
    [
        (ONE_EACH, 1),
        ({}, 1),
        ({"teacher": {"max_size": 8}}, 2),
        ({"teacher": {"size": 8}}, None),
        ({"teacher": {"size": 8}, "device": "cpu"}, 1),
        ({"student": {"size": 2, "gpus_per_actor": 0.45}, "oracle": {"size": 1}}, 1),
    ],
)
def test_sizes_that_fit_are_not(pools: dict[str, Any], max_gpus: int | None) -> None:
    check(pools, max_gpus)
