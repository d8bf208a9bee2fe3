"""GPUs, cores, or GPUs that are still to come."""

from __future__ import annotations

import pytest

from actors.pool_settings import PoolsSettings
from jobs.scaling.device import LARGE_BYTES, DeviceChoice, choose_device
from jobs.scaling.initial_sizes import plan_pools

SMALL, LARGE = 14_000_000, LARGE_BYTES
GPUS, CORES = DeviceChoice.GPUS, DeviceChoice.CORES
WAIT, REFUSE = DeviceChoice.WAIT, DeviceChoice.REFUSE


@pytest.mark.parametrize(
    ("wanted", "weight_bytes", "gpus", "grows", "alone", "expected"),
    [
        # The embedded set and stand-ins: as there is.
        (None, SMALL, 0, False, True, CORES),
        (None, SMALL, 0, False, False, CORES),
        (None, SMALL, 2, False, False, GPUS),
        # Real models on a laptop, on a cluster without nodes, on one that grows, on cores by wish.
        (None, LARGE, 0, False, True, REFUSE),
        (None, LARGE, 0, False, False, WAIT),
        (None, LARGE, 0, True, False, GPUS),
        (None, LARGE, 1, False, True, GPUS),
        ("cpu", LARGE, 0, False, True, CORES),
        ("cpu", LARGE, 8, False, False, CORES),
        # By wish on GPUs, whatever the size.
        ("gpu", SMALL, 0, False, True, REFUSE),
        ("gpu", SMALL, 0, False, False, WAIT),
    ],
)
def test_large_models_are_not_planned_on_cores_unless_that_is_wished(
    wanted: str | None,
    weight_bytes: int,
    gpus: float,
    grows: bool,
    alone: bool,
    expected: DeviceChoice,
) -> None:
    found = choose_device(wanted, weight_bytes=weight_bytes, gpus=gpus, grows=grows, alone=alone)
    assert found is expected


def test_by_wish_the_actors_ask_for_no_gpu() -> None:
    plans = plan_pools(PoolsSettings(device="cpu"), cpus=16, gpus=4)
    assert {plans.student.gpus, plans.oracle.gpus, plans.teacher.gpus} == {0.0}
    assert plans.places is not None
    assert plans.places.unit == "core"
    assert plan_pools(PoolsSettings(device="gpu"), cpus=16, gpus=4).teacher.gpus == 0.9
