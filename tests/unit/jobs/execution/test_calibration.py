"""From a budget to a threshold: arithmetic, and the sentence when it cannot be met."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.errors import JobError, SpecError
from jobs.execution.calibration import calibrate, refine_fraction, table
from jobs.execution.dispatcher import Dispatcher
from jobs.execution.executor import ErrorKind, Task, TaskError
from jobs.resolution import Job
from jobs.resolution import resolve as resolve_job
from jobs.simulation.executor import Durations, SimulatedActor, SimulatedExecutor
from jobs.simulation.job import simulated_job
from jobs.spec.job_spec import make_spec
from jobs.spec.quantile import fraction_below, threshold_for

SCORES = st.lists(st.floats(-5, 5), min_size=1, max_size=50, unique=True).map(sorted)


def job(tmp_path: Any, **fields: Any) -> Job:
    (tmp_path / "p.txt").write_text("a red circle\n")
    given = {"input": str(tmp_path / "p.txt"), "output": str(tmp_path / "o"), "models": "shapes"}
    return resolve_job(make_spec({**given, **fields}))


@given(SCORES, st.floats(0, 1))
@example([-5.0, -4.999999999999999, 0.0], 0.25)
def test_the_threshold_rejects_the_fraction(scores: list[float], refine: float) -> None:
    threshold = threshold_for(scores, refine)
    rejected = sum(score < threshold for score in scores)
    assert abs(rejected - refine * len(scores)) <= 0.5
    assert fraction_below(scores, threshold) == rejected / len(scores)


def test_none_and_all_are_certain() -> None:
    assert threshold_for([1.0, 2.0], 0.0) == -inf
    assert threshold_for([1.0, 2.0], 1.0) == inf


def test_equal_scores_are_on_one_side() -> None:
    scores = [1.0, 2.0, 2.0, 2.0]
    assert fraction_below(scores, threshold_for(scores, 0.5)) == 0.25


def test_a_budget_in_evaluations_becomes_a_fraction(tmp_path: Any) -> None:
    made = job(tmp_path, budget={"nfe": 10})
    expected = (10 - made.student_nfe) / made.teacher_nfe
    assert refine_fraction(made, {}) == pytest.approx(expected)
    assert refine_fraction(job(tmp_path, budget={"nfe": 10_000}), {}) == 1.0
    with pytest.raises(SpecError, match="less than the student alone takes"):
        job(tmp_path, budget={"nfe": 1})


def test_a_budget_in_seconds_becomes_a_fraction(tmp_path: Any) -> None:
    seconds = {"draw": 0.2, "score": 0.1, "refine": 0.9}
    made = job(tmp_path, budget={"gpu_seconds": 0.8})
    assert refine_fraction(made, seconds) == pytest.approx((0.8 - 0.3) / 1.0)
    with pytest.raises(SpecError, match="less than drawing and scoring alone"):
        refine_fraction(job(tmp_path, budget={"gpu_seconds": 0.2}), seconds)


def test_the_table_goes_from_the_student_alone_to_everything(tmp_path: Any) -> None:
    made = job(tmp_path)
    rows = table(made, [float(n) for n in range(10)])
    assert [row.refine for row in rows] == [p / 10 for p in range(11)]
    assert rows[0].nfe == made.student_nfe
    assert rows[-1].nfe == made.student_nfe + made.teacher_nfe
    assert [row.threshold for row in rows] == sorted(row.threshold for row in rows)


def test_steps_that_do_not_fit_the_rollback_are_refused(tmp_path: Any) -> None:
    with pytest.raises(SpecError, match="60 steps do not fit"):
        job(tmp_path, rollback={"strength": 0.05}, teacher_steps=60)
    rung = {"refine": {"strength": 0.05, "steps": 60}, "below": 0.2}
    with pytest.raises(
        SpecError, match=r"^ladder: refine\.steps: 60 .* Lower refine\.steps or raise"
    ):
        job(tmp_path, ladder=[{"draw": 1}, rung])
    assert job(tmp_path, rollback={"strength": 0.05}, teacher_steps=50).refinement.steps == 50


def test_a_variance_becomes_the_strength_of_the_teachers_schedule(tmp_path: Any) -> None:
    low = job(tmp_path, rollback={"variance": 0.1}).refinement
    high = job(tmp_path, rollback={"variance": 0.9}).refinement
    assert 0 < low.strength < high.strength < 1
    assert low.steps < high.steps


SECONDS = {"student": 0.8, "oracle": 0.08, "teacher": 3.2}
"""Of a batch of eight: a row takes 0.1 s to draw, 0.01 to score and 0.4 to refine."""


class ColdActors(SimulatedExecutor):
    """An actor's first call takes `cold` seconds more; every seventh `held_up` seconds more.

    broken: the pool whose calls all raise.
    """

    def __init__(self, cold: float = 0.0, held_up: float = 0.0, broken: str = "") -> None:
        super().__init__(Durations(batch=SECONDS), num_nodes=1)
        self.cold, self.held_up, self.broken = cold, held_up, broken
        self.begun: list[str] = []
        """The actor of each call, by name."""

    def outcome(self, actor: SimulatedActor, task: Task) -> tuple[float, TaskError | None]:
        seconds, error = super().outcome(actor, task)
        if actor.pool == self.broken:
            error = TaskError(ErrorKind.RAISED, "RuntimeError: no teacher today")
        seconds += self.cold if actor.name not in self.begun else 0.0
        self.begun.append(actor.name)
        return seconds + (self.held_up if self.begun.count(actor.name) % 7 == 0 else 0.0), error


def refined_for(
    gpu_seconds: float, executor: SimulatedExecutor, actors: int = 1, drawn: int = 8, **fields: Any
) -> float:
    """The fraction that a budget in seconds refines, timed on these actors."""
    sizes = {"student": drawn, "oracle": drawn, "teacher": 8}
    batches = {role: {"batch_size": size} for role, size in sizes.items()}
    spec = make_spec(
        {
            **{"input": "-", "output": "-", "models": {"preset": "shapes", **batches}},
            **{"budget": {"gpu_seconds": gpu_seconds}, **fields},
        }
    )
    made = simulated_job(spec, 2_000, "latents", frozenset())
    with Dispatcher(made, executor, dict.fromkeys(SECONDS, actors), task_slots=1) as dispatcher:
        return calibrate(made, dispatcher).refine


@pytest.mark.parametrize("actors", [1, 2, 3, 64])
@pytest.mark.parametrize("cold", [0.0, 2.0, 10.0, 300.0])
def test_cold_calls_do_not_count_in_a_budget_in_seconds(cold: float, actors: int) -> None:
    """An actor that compiles at its first call is as fast as the others afterwards."""
    fraction = (0.25 - 0.11) / 0.41
    refined = refined_for(0.25, ColdActors(cold), actors)
    assert refined == pytest.approx(fraction, abs=0.5 / 256)


def test_rows_of_a_padded_batch_count_as_the_full_one_that_they_took() -> None:
    """Four students whose one full batch each is cold: what is timed are batches of 16 of 64."""
    draw, score, refine = SECONDS["student"] / 64, SECONDS["oracle"] / 64, SECONDS["teacher"] / 8
    refined = refined_for(0.25, ColdActors(2.0), actors=4, drawn=64)
    assert refined == pytest.approx((0.25 - draw - score) / (refine + score), abs=0.01)


def test_a_call_that_was_held_up_counts_as_one() -> None:
    refined = refined_for(0.25, ColdActors(held_up=60.0))
    assert refined == pytest.approx((0.25 - 0.11) / 0.41, abs=0.5 / 256)


@pytest.mark.parametrize("rows", [8, 256])
def test_a_budget_in_seconds_is_refused_where_no_warm_call_ends(rows: int) -> None:
    """A teacher without a time would seem to cost nothing, and would refine everything."""
    with pytest.raises(
        JobError, match=r"budget.gpu_seconds: 0.25 .*no call of the teacher .*give budget.refine"
    ):
        refined_for(0.25, ColdActors(broken="teacher"), calibration_rows=rows)
