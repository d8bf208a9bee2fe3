"""The other jobs on the cluster: each tells how it stands, and reads how the others do.

One detached actor keeps the entries (`jobs.scaling.shares` has the rule by which every job computes
its share from them). It outlives the drivers, and forgets those that Ray knows to be dead, or that
tell nothing any more: a job that is killed needs nobody to take it off the list. A cluster where
the actor cannot be reached is one without neighbours: the jobs get their GPUs from Ray's queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from time import monotonic
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import GetTimeoutError, RayError

from jobs.execution.detached import one_of_cluster
from jobs.execution.ray_drivers import driver_lives
from jobs.scaling.shares import (
    RENEW_SECONDS,
    RunningJob,
    RunningJobs,
    neighbours_text,
    share_of,
)

log = logging.getLogger("bottega.dispatcher")

NAME = "running-jobs-2"
"""The actor's name; the number is that of its methods' arguments, which drivers of several versions
of this program call."""

ANSWER_SECONDS = 20.0
"""A job that begins waits so long for the list; the actor starts within ten on a busy machine."""


class JobRegistry:
    """The actor."""

    def __init__(self, lives: Callable[[str], bool] = driver_lives) -> None:
        """`lives`: whether a driver does, by Ray's number of it."""
        self._jobs, self._lock, self._lives = RunningJobs(), Lock(), lives
        self._look_at = 0.0

    def tell(self, key: str, job: RunningJob | None) -> dict[str, RunningJob]:
        """A job tells how it stands, or None when it ends; returns all that are alive."""
        with self._lock:
            if job is None:
                self._jobs.leave(key)
            else:
                self._jobs.put(key, job, monotonic())
            if (now := monotonic()) >= self._look_at:
                self._look_at = now + RENEW_SECONDS
                for other, each in self._jobs.living(now).items():
                    if other != key and not self._lives(each.ray_job):
                        self._jobs.leave(other)
            return self._jobs.living(now)


class Neighbours:
    """One job's side of it. `job`: how it stands now; whoever knows better replaces it."""

    def __init__(self, job: RunningJob) -> None:
        self.job = job
        self._key = uuid4().hex
        self._jobs: dict[str, RunningJob] = {}
        self._answer: Any = None
        self._renew_at = 0.0
        self._has_news = False

    def join(self) -> None:
        """Tell for the first time, and wait for the list."""
        try:
            self._jobs = ray.get(self._tell(self.job), timeout=ANSWER_SECONDS)
        except (RayError, GetTimeoutError) as error:
            log.warning("the other jobs on the cluster are not known: %s", error)

    def leave(self) -> None:
        """The job has ended: its GPUs are the others' at once."""
        if ray.is_initialized():
            try:
                ray.get(self._tell(None), timeout=ANSWER_SECONDS)
            except (RayError, GetTimeoutError) as error:
                log.debug("the others learn later that the job has ended: %s", error)

    def renew(self) -> None:
        """Take the answer that has come, and tell again if it is time; waits for nothing."""
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._take()
        now = monotonic()
        if now >= self._renew_at and self._answer is None:
            self._renew_at = now + RENEW_SECONDS
            self._answer = self._tell(self.job)

    def _take(self) -> None:
        answer, self._answer = self._answer, None
        try:
            jobs: dict[str, RunningJob] = ray.get(answer)
        except RayError as error:
            log.debug("the other jobs on the cluster are not known now: %s", error)
            return
        self._has_news = self._has_news or _wishes(jobs) != _wishes(self._jobs)
        self._jobs = jobs

    def has_news(self) -> bool:
        """Whether a job came or went, or wants something else, since this was asked last."""
        news, self._has_news = self._has_news, False
        return news

    def share(self, gpus: float) -> int | None:
        """GPUs of `gpus` that are this job's; None without another job."""
        others = self._jobs.keys() - {self._key}
        if not others:
            return None
        return share_of(self._key, int(gpus), {**self._jobs, self._key: self._mine()})

    def _mine(self) -> RunningJob:
        known = self._jobs.get(self._key)
        return replace(self.job, joined=known.joined) if known else self.job

    def __str__(self) -> str:
        return neighbours_text(self._key, self._jobs)

    def _tell(self, job: RunningJob | None) -> Any:
        return one_of_cluster(JobRegistry, NAME).tell.remote(self._key, job)


def _wishes(jobs: dict[str, RunningJob]) -> dict[str, tuple[int, int, int, bool]]:
    """What the shares follow from."""
    return {key: (job.wants, job.least, job.priority, job.holds > 0) for key, job in jobs.items()}
