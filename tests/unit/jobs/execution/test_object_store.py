"""The bytes in the object store stay within the budget, also while teachers load."""

from __future__ import annotations

import pytest

from jobs.execution.dispatcher import Dispatcher
from jobs.execution.observers import JobEvent, StoreMeasured
from jobs.execution.runner import Runner
from jobs.simulation.executor import Durations, SimulatedActor
from jobs.simulation.job import simulated_job
from jobs.simulation.light_executor import LightExecutor
from jobs.spec.job_spec import make_spec

BATCH = 16
BUDGET_ROWS = 400
"""A simulated row's output takes one byte; a drawn row has two outputs, latents and pictures."""


class SlowTeachers(LightExecutor):
    """Teachers load for 100 times as long as the others."""

    def load_seconds(self, actor: SimulatedActor) -> float:
        return 500.0 if actor.pool == "teacher" else 5.0


@pytest.mark.parametrize("teachers", [1, 4])
def test_students_do_not_overrun_the_object_store_while_teachers_load(teachers: int) -> None:
    """Nothing else is under way then, and that alone is no reason to draw beyond the budget."""
    models = {"preset": "shapes", **{n: {"batch_size": BATCH} for n in ("student", "teacher")}}
    spec = make_spec(
        {"input": "-", "output": "-", "models": models, "rows_per_part": 256, "keep": "best"}
    )
    job = simulated_job(spec, 4096, "latents", frozenset())
    executor = SlowTeachers(Durations(), num_nodes=1)
    held: list[float] = []

    def watch(event: JobEvent) -> None:
        assert isinstance(event, StoreMeasured)
        held.append(event.held / event.budget)

    sizes = {"student": 2, "oracle": 1, "teacher": teachers}
    with Dispatcher(job, executor, sizes, 4, object_store_bytes=4 * BUDGET_ROWS) as dispatcher:
        dispatcher.observers.add(watch, only=(StoreMeasured,))
        runner = Runner(job)
        runner.run(dispatcher, job.rules(0.3))
    assert runner.progress().done_rows == 4096
    assert max(held) < 1.2
