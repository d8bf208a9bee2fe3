"""On which kind of device a job's actors run: GPUs, cores, or GPUs that are still to come. Pure."""

from __future__ import annotations

from enum import Enum, auto

LARGE_BYTES = 300_000_000
"""Models whose weights take less run on cores where there is no GPU. The embedded ones take 14 MB;
of published text-to-image models the smallest known take 650 MB and minutes a picture on a core, so
nobody means that."""


class DeviceChoice(Enum):
    """How the job goes on with the cluster as it is."""

    GPUS = auto()
    CORES = auto()
    WAIT = auto()
    """Nodes with GPUs may still join."""
    REFUSE = auto()
    """No node will."""


def choose_device(
    wanted: str | None, *, weight_bytes: int, gpus: float, grows: bool, alone: bool
) -> DeviceChoice:
    """By `pools.device` and the larger model's weights.

    `gpus`: that there are now. `grows`: the job asks an autoscaler for more. `alone`: no node can
    join this Ray.
    """
    if wanted == "cpu":
        return DeviceChoice.CORES
    if gpus >= 1 or grows:
        return DeviceChoice.GPUS
    if wanted is None and weight_bytes < LARGE_BYTES:
        return DeviceChoice.CORES
    return DeviceChoice.REFUSE if alone else DeviceChoice.WAIT
