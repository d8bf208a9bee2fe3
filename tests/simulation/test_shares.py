"""Jobs that share a cluster's GPUs, simulated: one gives up what is another's, and gets it back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from jobs.execution.executor import ClusterView
from jobs.execution.launch import make_dispatcher, pools_for
from jobs.execution.resources import Resources
from jobs.execution.runner import Runner
from jobs.simulation.executor import SimulatedActor
from jobs.simulation.job import SimulatedOutput, simulated_job
from jobs.spec.job_spec import make_spec
from tests.simulation.shared_gpus import Others
from tests.simulation.test_places import Shared


class Neighbourly(Shared):
    """Another job comes and goes: `visits` are (from, until, GPUs that stay this job's)."""

    def __init__(self, gpus: int, shares: Any, visits: list[tuple[float, float, int]]) -> None:
        super().__init__(gpus, shares, others=0, leave_after=None)
        self.visits, self.told = visits, 0
        self.others_had: dict[float, list[float]] = {}
        """By visit: the moments at which the other job had all of its GPUs."""
        self.used: list[tuple[float, float]] = []
        """GPUs of this job's actors, over time."""
        for start, end, ours in visits:
            others = Others(gpus - ours, share=0.9)  # as of a student or a teacher
            self.at(start, lambda others=others: self.gpus.ask(others))  # type: ignore[misc]
            self.at(end, lambda others=others: self.gpus.others_leave(others))  # type: ignore[misc]
            self.others_had[start] = []
        self._before: int | None = None

    def share(self) -> int | None:
        return next((ours for a, b, ours in self.visits if a <= self.now() < b), None)

    def holds(self, gpus: int) -> None:
        self.told = gpus

    def has_news(self) -> bool:
        before, self._before = self._before, self.share()
        return before != self._before

    def look(self, unloaded: Collection[SimulatedActor]) -> ClusterView | None:
        view = super().look(unloaded)
        assert view is not None
        placed = [actor for actor in self.actors if actor not in self.gpus.waiting]
        self.used.append((self.now(), sum(self.gpus.shares[actor.pool] for actor in placed)))
        for start, end, _ in self.visits:
            waits = any(isinstance(who, Others) for who in self.gpus.waiting)
            if start <= self.now() < end and not waits:
                self.others_had[start].append(self.now())
        return replace(view, share=self.share(), neighbours="another job")

    def most_used(self, start: float, end: float) -> float:
        return max((used for when, used in self.used if start <= when < end), default=0.0)


def run(
    visits: list[tuple[float, float, int]], gpus: int = 8, num_rows: int = 3000, **fields: Any
) -> tuple[Neighbourly, SimulatedOutput]:
    batches = {name: {"batch_size": 8} for name in ("student", "oracle", "teacher")}
    spec = make_spec(
        {
            "input": "-", "output": "-", "models": {"preset": "shapes", **batches},
            "rows_per_part": 64, "stall_timeout_seconds": 100.0, **fields,
        }
    )  # fmt: skip
    output, have = SimulatedOutput(), Resources(32, gpus, 1e9)
    job = replace(simulated_job(spec, num_rows, "latents", frozenset()), output=output)
    plans = pools_for(job, have)
    assert plans.places is not None
    executor = Neighbourly(gpus, plans.places.shares, visits)
    with make_dispatcher(job, executor, plans, have, share=executor.share()) as dispatcher:
        Runner(job).run(dispatcher, job.rules(0.5))
    assert sum(len(rows) for rows in executor.committed.values()) == num_rows
    return executor, output


def test_a_job_that_comes_gets_its_gpus_and_gives_them_back_when_it_ends() -> None:
    executor, output = run([(60, 140, 4)], num_rows=5000)
    assert executor.most_used(0, 60) > 6
    first = min(executor.others_had[60])
    assert first < 90, "calls that were under way ended, and then the others had their GPUs"
    assert executor.most_used(first, 140) <= 4 + 1e-6
    assert executor.most_used(140, 200) > 6, "they are used once they are free"
    reasons = [entry["reason"] for entry in output.timeline]
    assert any("4 GPUs are this job's, shared with another job" in why for why in reasons)
    assert any("8 GPUs can be had now" in why for why in reasons)


def test_jobs_that_begin_together_begin_with_their_shares() -> None:
    executor, _ = run([(0, 200, 3)])
    assert executor.most_used(0, 200) <= 3 + 1e-6
    assert min(executor.others_had[0]) < 10
    assert executor.most_used(200, 240) > 6


@pytest.mark.parametrize("ours", [1, 2])
def test_one_of_a_higher_priority_leaves_a_job_its_last_gpus(ours: int) -> None:
    """On one GPU the pools take turns."""
    executor, _ = run([(60, 400, ours)], num_rows=4000)
    assert executor.most_used(min(executor.others_had[60]), 400) <= ours + 1e-6
    assert executor.most_used(200, 400) > 0.5
    assert executor.now() > 400


def test_gpus_that_a_job_can_not_use_are_not_had() -> None:
    executor, _ = run([], num_rows=600, max_gpus=3)
    assert 2 < executor.most_used(0, 1e9) <= 3 + 1e-6
    assert executor.told <= 3


def test_many_jobs_come_and_go() -> None:
    visits = [(40.0 + 60 * n, 80.0 + 60 * n, ours) for n, ours in enumerate((4, 2, 6, 1, 5))]
    executor, _ = run(visits, num_rows=4000)
    for start, end, ours in visits:
        had = executor.others_had[start]
        assert had, "the job that came had all of its GPUs in the end"
        assert executor.most_used(min(had), end) <= ours + 1e-6
