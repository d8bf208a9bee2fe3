"""Jobs whose GPUs others use, simulated: they go on with what there is, and wait within limits."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import pytest

from actors.errors import NoPlaceError
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.executor import ClusterView
from jobs.execution.launch import make_dispatcher
from jobs.execution.progress import Progress
from jobs.execution.resources import Resources
from jobs.execution.runner import Runner
from jobs.scaling.initial_sizes import guess_loads, plan_pools
from jobs.simulation.executor import Durations, SimulatedActor, SimulatedExecutor
from jobs.simulation.job import SimulatedOutput, simulated_job
from jobs.spec.job_spec import make_spec
from tests.simulation.shared_gpus import Others, SharedGpus


@pytest.fixture(autouse=True)
def _with_log() -> Iterator[None]:
    """Another file of this folder may have switched the log off."""
    before = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    yield
    logging.disable(before)


class Shared(SimulatedExecutor):
    """Each actor waits for a place on GPUs that others use too. `seen`: sizes and shown lines."""

    def __init__(self, gpus: int, shares: Any, others: int, leave_after: float | None) -> None:
        super().__init__(Durations(), num_nodes=2)
        self.gpus = SharedGpus(gpus, shares, super().place)
        somebody = Others(others)
        self.gpus.ask(somebody)
        if leave_after is not None:
            self.at(leave_after, lambda: self.gpus.others_leave(somebody))
        self.total, self.cpus, self.store_bytes = gpus, 32.0, 1e9
        self.most = 0.0
        """GPUs that the job's actors used at once."""

    def place(self, actor: SimulatedActor) -> None:
        self.gpus.ask(actor)

    def kill_actor(self, handle: SimulatedActor) -> None:
        super().kill_actor(handle)
        self.gpus.leave(handle)

    def look(self, unloaded: Collection[SimulatedActor]) -> ClusterView | None:
        used = [a for a in self.actors if a not in self.gpus.waiting]
        self.most = max(self.most, sum(self.gpus.shares[a.pool] for a in used))
        waiting = frozenset(actor for actor in unloaded if actor in self.gpus.waiting)
        have = Resources(self.cpus, self.total, self.store_bytes)
        return ClusterView(have, Resources(self.cpus, self.gpus.free), waiting)

    def nodes_join(self, gpus: int, cpus: float, store_bytes: float) -> None:
        self.gpus.room |= {self.total + gpu: 1.0 for gpu in range(gpus)}
        self.total += gpus
        self.cpus += cpus
        self.store_bytes += store_bytes


def run(
    others: int,
    leave_after: float | None = None,
    gpus: int = 8,
    num_rows: int = 400,
    **fields: Any,
) -> tuple[Shared, SimulatedOutput, list[Progress]]:
    """A job that is planned for `gpus`, of which others use some, to their end or for a while."""
    batches = {name: {"batch_size": 8} for name in ("student", "oracle", "teacher")}
    spec = make_spec(
        {
            "input": "-", "output": "-", "models": {"preset": "shapes", **batches},
            "rows_per_part": 64, "stall_timeout_seconds": 100.0, **fields,
        }
    )  # fmt: skip
    output = SimulatedOutput()
    job = replace(simulated_job(spec, num_rows, "latents", frozenset()), output=output)
    plans = plan_pools(spec.pools, 32, gpus, loads=guess_loads(job))
    assert plans.places is not None
    executor = Shared(gpus, plans.places.shares, others, leave_after)
    seen: list[Progress] = []
    with Dispatcher(
        job, executor, plans.sizes, 4, capacity=plans.capacity, places=plans.places
    ) as dispatcher:
        dispatcher.observers.add(seen.append, only=(Progress,))  # type: ignore[arg-type]
        Runner(job).run(dispatcher, job.rules(0.5))
    assert sum(len(rows) for rows in executor.committed.values()) == num_rows
    return executor, output, seen


FIXED = {name: {"size": size} for name, size in (("student", 2), ("oracle", 1), ("teacher", 4))}


@pytest.mark.parametrize("pools", [{}, FIXED], ids=["balanced", "fixed"])
@pytest.mark.parametrize("others", [5, 6, 7])
def test_with_fewer_gpus_than_planned_every_pool_works_in_its_turn(
    others: int, pools: dict[str, Any]
) -> None:
    """Students sat on what there was, no teacher started, and the job died of its stall."""
    executor, output, seen = run(others, pools=pools)
    assert executor.most <= 8 - others + 1e-6
    assert any("got no place in the cluster" in entry["reason"] for entry in output.timeline)
    shown = {progress.waiting for progress in seen}
    assert any(line.endswith(f"{others} of 8 are in use by others") for line in shown), shown


def test_gpus_that_others_give_back_are_used() -> None:
    executor, output, seen = run(6, leave_after=100, num_rows=2000)
    assert executor.most > 6
    assert any("can be had now" in entry["reason"] for entry in output.timeline)
    assert seen[-1].waiting == "", "it has what it asked for"
    # With the two GPUs alone it takes more than twice as long.
    alone, _, _ = run(6, num_rows=2000)
    assert alone.now() > 1.8 * executor.now()


@pytest.mark.parametrize(
    ("others", "gpus", "leave_after", "pools"), [(1, 1, 100, {}), (8, 8, 1000, FIXED)]
)
def test_pools_that_nobody_balances_come_back_when_the_gpus_do(
    others: int, gpus: int, leave_after: float, pools: dict[str, Any]
) -> None:
    """Pools without work had come to nothing meanwhile, and the job stalled beside its GPUs."""
    executor, _, _ = run(others, leave_after, gpus, pools=pools)
    assert leave_after < executor.now() < leave_after + 250
    if pools:
        assert executor.most > 4, "two students, an oracle, and more teachers than one"


def test_a_job_without_any_gpu_waits_and_that_is_no_stall(
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor, _, _ = run(8, leave_after=1000, stall_timeout_seconds=50.0)
    assert executor.now() > 1000
    assert "waiting for 8 GPUs: 8 of 8 are in use by others" in caplog.text
    assert "the job has the places that it asked for" in caplog.text
    assert caplog.text.count("waiting for") < 4, "one line, not one a second"


def test_waiting_has_a_limit_of_its_own() -> None:
    with pytest.raises(NoPlaceError, match=r"waiting for .* 8 of 8 .* for 300 s now.*same command"):
        run(8, place_timeout_seconds=300.0, stall_timeout_seconds=50.0)


def test_what_is_known_of_the_cluster_follows_its_nodes() -> None:
    """Slots for files, the object store and GPUs were those of the beginning for ever."""
    spec = make_spec(
        {"input": "-", "output": "-", "models": {"preset": "shapes"}, "rows_per_part": 64}
    )
    job = simulated_job(spec, 1600, "latents", frozenset())
    plans = plan_pools(spec.pools, 4, 2, loads=guess_loads(job))
    assert plans.places is not None
    executor = Shared(2, plans.places.shares, others=0, leave_after=None)
    executor.cpus = 4.0
    executor.at(20, lambda: executor.nodes_join(gpus=6, cpus=60.0, store_bytes=7e9))
    have = Resources(4, 2, 1e9)
    with make_dispatcher(job, executor, plans, have) as dispatcher:
        assert dispatcher.budget.limit == 0.5e9
        Runner(job).run(dispatcher, job.rules(0.5))
        assert dispatcher.budget.limit == 4e9
        assert dispatcher._task_slots == 32
    assert executor.most > 4, "the new GPUs are used"


@pytest.mark.parametrize(
    ("student", "teacher", "seconds"),
    [
        # The policy finds by itself that the student's GPU does more for the teacher.
        ({"max_size": 1}, {"max_size": 2}, (0, 60)),
        ({"size": 1}, {"size": 1}, (900, 1200)),
    ],
)
def test_where_the_autoscaler_brings_no_node_the_pools_take_turns(
    student: dict[str, int], teacher: dict[str, int], seconds: tuple[float, float]
) -> None:
    """Its quota is used up: the student's node is the only one that ever comes."""
    pools = {"grow": True, "student": student, "teacher": teacher}
    spec = make_spec(
        {"input": "-", "output": "-", "models": "shapes", "rows_per_part": 64, "pools": pools}
    )
    job = simulated_job(spec, 128, "latents", frozenset())
    plans = plan_pools(spec.pools, 4, 1, loads=guess_loads(job))
    assert plans.places is not None
    executor = Shared(1, plans.places.shares, others=0, leave_after=None)
    with make_dispatcher(job, executor, plans, Resources(4, 1, 1e9)) as dispatcher:
        Runner(job).run(dispatcher, job.rules(0.5))
    assert sum(len(rows) for rows in executor.committed.values()) == 128
    assert seconds[0] < executor.now() < seconds[1]


def test_a_pool_whose_actors_stay_for_the_next_job_keeps_one() -> None:
    """Otherwise the last teacher takes the student's GPU, and the next job has nobody to draw."""
    _, _, ends = run(0, gpus=4)
    _, _, stays = run(0, gpus=4, pools={"keep_warm": "15m"})

    def last(seen: list[Progress]) -> dict[str, int]:
        return {pool.name: pool.size for pool in seen[-1].pools}

    assert last(ends)["student"] == 0
    assert min(last(stays).values()) == 1


def test_a_ladder_without_a_teacher_keeps_none_for_the_next_job() -> None:
    """Somebody paid for a teacher's GPU in which nothing was ever drawn."""
    ladder = [{"draw": 2, "until": 0.5}]
    executor, _, stays = run(0, gpus=4, pools={"keep_warm": "15m"}, ladder=ladder)
    last = {pool.name: pool.size for pool in stays[-1].pools}
    assert last["teacher"] == 0
    assert min(last["student"], last["oracle"]) >= 1
    assert "teacher" not in {actor.pool for actor in executor.actors}
