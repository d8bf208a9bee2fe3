"""Shares of a cluster's GPUs among the jobs that run on it. Pure.

Every job computes all shares from the same entries, by the same rule, so that nobody has to deal
GPUs out:

1. every job has one GPU before any has two; those that hold one already are first, so that nobody
   is driven off the last one;
2. the others go to the jobs of the highest priority, evenly, as far as each can use them
   (`max_gpus`); then to those of the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

from jobs.scaling.capacity import Capacity

LIVES_SECONDS = 20.0
"""An entry that is not renewed for so long is of a driver that is gone, or that hangs: ten
renewals, so that a driver that is held up loses nothing. Of a killed one Ray says so earlier."""

RENEW_SECONDS = 2.0
"""Between two renewals: a message of a few bytes for each job. A job that comes or goes is seen
after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A job on the cluster, as it tells the others. `wants`: GPUs that it can use, at most.

    `least`: GPUs that it needs at once, more than one where its pools have fixed sizes. `holds`:
    those that it has. `joined`: the number of its coming, of which earlier ones are lower.
    `ray_job`: its driver, by Ray's number.
    """

    name: str
    wants: int
    priority: int = 0
    least: int = 1
    holds: int = 0
    joined: int = 0
    ray_job: str = ""


@dataclass(slots=True)
class RunningJobs:
    """The jobs that have told of themselves lately, by their drivers' keys."""

    _by_key: dict[str, tuple[RunningJob, float]] = field(default_factory=dict)
    _num_joined: int = 0

    def put(self, key: str, job: RunningJob, now: float) -> None:
        """A job tells how it stands; it keeps its place in the order of coming."""
        known = self._by_key.get(key)
        if known is None:
            self._num_joined += 1
        joined = known[0].joined if known else self._num_joined
        self._by_key[key] = replace(job, joined=joined), now + LIVES_SECONDS

    def leave(self, key: str) -> None:
        """A job has ended."""
        self._by_key.pop(key, None)

    def living(self, now: float) -> dict[str, RunningJob]:
        """The jobs whose drivers are alive."""
        self._by_key = {key: each for key, each in self._by_key.items() if each[1] > now}
        return {key: job for key, (job, _) in self._by_key.items()}


def shares(total: int, jobs: Mapping[str, RunningJob]) -> dict[str, int]:
    """GPUs of each job, by key; together no more than `total`."""
    found = dict.fromkeys(jobs, 0)
    left = total
    order = sorted(
        jobs, key=lambda key: (not jobs[key].holds, -jobs[key].priority, jobs[key].joined)
    )
    for key in order:
        found[key] = min(max(1, jobs[key].least), left)
        left -= found[key]
    for priority in sorted({job.priority for job in jobs.values()}, reverse=True):
        alike = [key for key in order if jobs[key].priority == priority]
        while left and (hungry := [key for key in alike if found[key] < jobs[key].wants]):
            # The one that has the least is next; of equal ones the earliest.
            poorest = min(hungry, key=lambda key: (found[key], jobs[key].joined))
            found[poorest] += 1
            left -= 1
    return found


def share_of(key: str, total: int, jobs: Mapping[str, RunningJob]) -> int:
    """GPUs of one job: at least one, for which it waits where there is none."""
    return max(1, shares(total, jobs).get(key, 0))


def neighbours_text(key: str, jobs: Mapping[str, RunningJob]) -> str:
    """The other jobs on the cluster, in a few words."""
    others = [job for other, job in jobs.items() if other != key]
    named = ", ".join(
        job.name + (f" (priority {job.priority})" if job.priority else "") for job in others[:3]
    )
    more = len(others) - 3
    return named + (f" and {more} more" if more > 0 else "")


def is_shared(devices: Capacity) -> bool:
    """Whether jobs deal these devices out among them: GPUs of a cluster that does not grow."""
    return devices.unit == "GPU" and not devices.elastic


def within(capacity: Capacity, most: float) -> Capacity:
    """At most so many of the devices, from each group in proportion, and one of each at least."""
    if most >= capacity.count:
        return capacity
    groups = []
    for group in capacity.devices:
        part = most if len(capacity.devices) == 1 else most * group.count / capacity.count
        count = min(group.count, max(1, int(part)))
        volume = min(group.volume, float(count)) if group.volume < inf else group.volume
        groups.append(replace(group, count=count, volume=volume))
    return replace(capacity, devices=tuple(groups))


def sizes_within(
    capacity: Capacity, sizes: Mapping[str, int], queued: Mapping[str, int]
) -> dict[str, int]:
    """The sizes that fit into fewer devices: the pool that has most of them gives first.

    `queued`: calls that wait, by pool. A pool loses its last actor only where not every pool can
    have one: first one without calls, then the one that comes last in the flow.
    """
    kept = dict(sizes)
    flow = list(kept)
    while not capacity.fits(kept):
        several = [name for name in kept if kept[name] > 1 and capacity.shares[name]]
        if several:
            giver = max(several, key=lambda name: kept[name] * capacity.shares[name])
        else:
            last = [name for name in kept if kept[name] and capacity.shares[name]]
            giver = max(last, key=lambda name: (not queued[name], flow.index(name)))
        kept[giver] -= 1
    return kept
