"""Several jobs share a cluster's GPUs by a rule that each of them applies by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scaling.capacity import Capacity, Devices
from jobs.scaling.shares import (
    LIVES_SECONDS,
    RunningJob,
    RunningJobs,
    neighbours_text,
    share_of,
    shares,
    sizes_within,
    within,
)

POOLS = frozenset({"student", "oracle", "teacher"})
SHARES = {"student": 0.9, "oracle": 0.1, "teacher": 0.9}


def job(
    wants: int = 100, priority: int = 0, holds: int = 0, joined: int = 0, least: int = 1
) -> RunningJob:
    return RunningJob(
        name=f"job {joined}",
        wants=wants,
        priority=priority,
        holds=holds,
        joined=joined,
        least=least,
    )


@pytest.mark.parametrize(
    ("total", "jobs", "found"),
    [
        (8, [job()], [8]),
        (8, [job(wants=3)], [3]),
        (8, [job(joined=1), job(joined=2)], [4, 4]),
        (7, [job(joined=1), job(joined=2)], [4, 3]),
        (8, [job(joined=1, wants=2), job(joined=2)], [2, 6]),
        (8, [job(joined=1, holds=8), job(joined=2, priority=5)], [1, 7]),
        (8, [job(joined=1, holds=8), job(joined=2, priority=5, wants=3)], [5, 3]),
        (8, [job(joined=1), job(joined=2, priority=1), job(joined=3, priority=1)], [1, 4, 3]),
        # Nobody is driven off its last GPU, whatever the priority of who comes.
        (2, [job(joined=1, holds=1), job(joined=2, holds=1), job(joined=3, priority=9)], [1, 1, 0]),
        (1, [job(joined=1), job(joined=2, priority=1)], [0, 1]),
        # Fixed sizes need their GPUs at once.
        (8, [job(joined=1, least=5, wants=5), job(joined=2)], [5, 3]),
        (0, [job()], [0]),
    ],
)
def test_shares(total: int, jobs: list[RunningJob], found: list[int]) -> None:
    by_key = {str(number): each for number, each in enumerate(jobs)}
    assert list(shares(total, by_key).values()) == found


JOBS = st.dictionaries(
    st.text(min_size=1, max_size=3),
    st.builds(
        RunningJob,
        name=st.just("x"), wants=st.integers(1, 20), priority=st.integers(-2, 2),
        holds=st.integers(0, 20), joined=st.integers(0, 50), least=st.just(1),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@given(st.integers(0, 40), JOBS)
def test_no_gpu_is_dealt_twice_or_left_while_somebody_wants_it(
    total: int, jobs: dict[str, RunningJob]
) -> None:
    found = shares(total, jobs)
    assert sum(found.values()) <= total
    assert all(found[key] <= job.wants for key, job in jobs.items())
    if any(found[key] < job.wants for key, job in jobs.items()):
        assert sum(found.values()) == total
    for key, one in jobs.items():
        for other, another in jobs.items():
            # Nobody has two while another has none; a lower priority has more than one only
            # if the higher one has all that it wants.
            assert not (found[key] > 1 and found[other] == 0)
            if one.priority > another.priority and found[other] > 1:
                assert found[key] == one.wants
            if one.priority == another.priority and found[key] < one.wants:
                assert found[other] <= found[key] + 1


def test_a_job_without_a_gpu_waits_for_one() -> None:
    jobs = {"a": job(holds=1, joined=1), "b": job(joined=2)}
    assert share_of("b", 1, jobs) == 1
    assert neighbours_text("b", jobs) == "job 1"
    assert neighbours_text("a", {**jobs, "c": job(priority=2, joined=3)}) == (
        "job 2, job 3 (priority 2)"
    )


def test_a_driver_that_is_gone_is_forgotten_and_a_living_one_keeps_its_turn() -> None:
    jobs = RunningJobs()
    jobs.put("a", job(), now=0.0)
    jobs.put("b", job(), now=1.0)
    jobs.put("a", job(holds=2), now=LIVES_SECONDS)
    living = jobs.living(now=LIVES_SECONDS + 2)
    assert list(living) == ["a"]
    assert (living["a"].joined, living["a"].holds) == (1, 2)
    jobs.leave("a")
    assert not jobs.living(now=LIVES_SECONDS + 2)


def test_fewer_devices_are_taken_from_each_group_and_one_stays() -> None:
    alike = Capacity((Devices(8, POOLS),), SHARES)
    assert within(alike, 3).count == 3
    assert within(alike, 8) == alike
    apart = Capacity(
        (Devices(2, frozenset({"student", "oracle"})), Devices(6, frozenset({"teacher"}))), SHARES
    )
    assert [group.count for group in within(apart, 4).devices] == [1, 3]
    assert [group.count for group in within(apart, 1).devices] == [1, 1]


@pytest.mark.parametrize(
    ("gpus", "sizes", "queued", "found"),
    [
        (4, [2, 1, 4], [1, 1, 1], [2, 1, 2]),
        (2, [2, 1, 4], [1, 1, 1], [1, 1, 1]),
        (1, [2, 1, 4], [3, 1, 1], [1, 1, 0]),
        (1, [2, 1, 4], [0, 1, 5], [0, 1, 1]),
        (1, [1, 1, 1], [0, 0, 0], [1, 1, 0]),
    ],
)
def test_a_job_that_gives_gpus_up_keeps_every_pool_while_that_is_possible(
    gpus: int, sizes: list[int], queued: list[int], found: list[int]
) -> None:
    capacity = Capacity((Devices(gpus, POOLS),), SHARES)
    kept = sizes_within(capacity, _named(sizes), _named(queued))
    assert list(kept.values()) == found


def _named(values: list[int]) -> dict[str, int]:
    return dict(zip(("student", "oracle", "teacher"), values, strict=True))
