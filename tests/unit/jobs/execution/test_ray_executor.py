"""What the executor knows of Ray's own processes; the rest of it runs on a real Ray."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from ray._private.node import Node

from actors.errors import JobError
from jobs.execution.node_requester import JobsRequest
from jobs.execution.ray_executor import RayExecutor


class Process:
    def __init__(self, code: int | None) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code


class Info:
    def __init__(self, code: int | None) -> None:
        self.process = Process(code)


def node(**codes: int | None) -> Any:
    """A node of Ray's own class whose processes ended with these codes, or run."""
    made = Node.__new__(Node)
    made.all_processes = {name: [Info(code)] for name, code in codes.items()}
    return made


def executor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One of which only the looks at Ray's processes are made."""
    made: Any = RayExecutor.__new__(RayExecutor)
    made._next_look, made._ray_died, made._waiting = 0.0, False, {}
    made._request, made._neighbours = JobsRequest(), None
    times = iter(range(100))
    monkeypatch.setattr(made, "now", lambda: float(next(times)))
    monkeypatch.setattr("jobs.execution.ray_executor.sleep", lambda _seconds: None)
    return made


def test_a_dead_raylet_ends_the_job_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    here = executor(monkeypatch)
    monkeypatch.setattr(ray._private.worker, "_global_node", node(raylet=None, gcs_server=None))
    assert here.wait(0.5) == []
    monkeypatch.setattr(ray._private.worker, "_global_node", node(raylet=-9, gcs_server=None))
    with pytest.raises(JobError, match=r"its raylet ended.*Run the same command again"):
        here.wait(0.5)
    monkeypatch.setattr("ray.kill", lambda _actor: pytest.fail("Ray is gone"))
    here.kill_actor(None)


@pytest.mark.parametrize("there", [None, node(), node(log_monitor=1, raylet=None)])
def test_a_ray_of_somebody_elses_and_a_lost_helper_end_nothing(
    there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = executor(monkeypatch)
    monkeypatch.setattr(ray._private.worker, "_global_node", there)
    assert here.wait(0.5) == []
