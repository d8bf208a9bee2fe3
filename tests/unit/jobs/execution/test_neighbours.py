"""The list of running jobs: who is on it."""

from __future__ import annotations

from jobs.execution.neighbours import JobRegistry
from jobs.scaling.shares import RunningJob


def test_a_job_whose_driver_is_dead_is_off_the_list_at_the_next_word_of_another() -> None:
    """Long before its entry would be too old."""
    dead: set[str] = set()
    registry = JobRegistry(lambda driver: driver not in dead)
    for name in ("one", "two"):
        registry.tell(name, RunningJob(name=name, wants=4, ray_job=name))
    registry._look_at = 0.0
    dead.add("one")
    assert set(registry.tell("two", RunningJob(name="two", wants=4, ray_job="two"))) == {"two"}


def test_a_job_that_tells_of_itself_lives_whatever_ray_says() -> None:
    registry = JobRegistry(lambda _: False)
    assert set(registry.tell("one", RunningJob(name="one", wants=4, ray_job="one"))) == {"one"}
