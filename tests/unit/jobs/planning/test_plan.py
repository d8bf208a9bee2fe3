"""Plans: the real scheduling code, simulated; checked with arithmetic by hand."""

from __future__ import annotations

import logging
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from actors.errors import SpecError
from jobs.planning import plan as plans
from jobs.planning.forecast import plan as forecast
from jobs.planning.plan import (
    Question,
    ask,
    budget_table,
    fewest_gpus,
    make_plan,
    teacher_only,
    whole_plan,
)
from jobs.planning.scaled import QUICK_GPUS, scaled
from jobs.planning.stage_times import stage_times
from jobs.refinement import planned_refinement
from jobs.resolution import resolve
from jobs.spec.job_spec import JobSpec, make_spec

POOLS = {"student": {"size": 1}, "oracle": {"size": 1}, "teacher": {"size": 1}}


def timed(student: float, teacher: float, **oracle: Any) -> dict[str, Any]:
    """Stand-ins with batches of 10 that take these seconds, and load in no time."""
    nothing = {"load_seconds": 0.0, "profile": None}

    def model(seconds: float) -> dict[str, Any]:
        return {"batch_size": 10, "timed": {**nothing, "seconds": {10: seconds}}}

    return {
        "preset": "timed",
        "student": model(student),
        "teacher": model(teacher),
        "oracle": {
            "batch_size": 10,
            "timed": {"load_seconds": 0.0, "seconds": {10: 0.001}, **oracle},
        },
    }


def job(**fields: Any) -> JobSpec:
    return make_spec(
        {
            "input": "-",
            "output": "-",
            "models": timed(1.0, 10.0),
            "strategy": "regenerate",
            "budget": {"refine": 0.3},
            "rows_per_part": 100,
            "calibration_rows": 10,
            **fields,
        }
    )


def question(rows: int, gpus: int = 2, **fields: Any) -> Question:
    spec = job(**fields)
    times = stage_times(spec, planned_refinement(spec))
    return ask(spec, times, {times.usual_gpu: gpus}, rows)


def test_without_a_teacher_the_student_sets_the_time() -> None:
    plan = make_plan(question(10_000, budget={"refine": 0.0}, pools=POOLS))
    assert plan.refined == 0
    assert plan.wall_seconds == pytest.approx(1000 * 1.0, rel=0.01)
    assert plan.busy_hours["student"] == pytest.approx(1000 / 3600)
    assert plan.busy_hours["teacher"] == 0


def test_a_teacher_that_refines_all_sets_the_time() -> None:
    plan = make_plan(question(2_000, budget={"refine": 1.0}, pools=POOLS))
    assert plan.refined == 1
    # After the first drawing it is busy to the end.
    assert plan.wall_seconds == pytest.approx(200 * 10.0 + 1, rel=0.01)
    assert plan.nfe == 1 + 50 * 2


def test_a_plan_refines_the_budgets_fraction() -> None:
    assert make_plan(question(1000)).refined == pytest.approx(0.3, abs=0.005)
    assert make_plan(question(1000, budget={"nfe": 1 + 0.4 * 100})).refined == pytest.approx(
        0.4, abs=0.01
    )


def test_the_time_before_the_first_part_is_loading_and_calibrating() -> None:
    models = timed(1.0, 10.0)
    models["student"]["timed"]["load_seconds"] = 7.0
    plan = make_plan(question(1000, models=models, calibration_rows=20, pools=POOLS))
    assert plan.ready_seconds == pytest.approx(7.0 + 2 * 1.0, abs=0.1)
    assert plan.wall_seconds > plan.ready_seconds + 100


def test_speed_makes_everything_faster() -> None:
    models = timed(1.0, 10.0)
    for name in ("student", "oracle", "teacher"):
        models[name]["timed"]["speed"] = 10
    slow = make_plan(question(1000, pools=POOLS))
    fast = make_plan(question(1000, models=models, pools=POOLS))
    # But for the files: a real processor encodes them.
    assert fast.wall_seconds == pytest.approx(slow.wall_seconds / 10, rel=0.02)


def test_a_large_job_is_planned_from_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question(8_000, budget={"refine": 0.27})
    whole = make_plan(asked)
    monkeypatch.setattr(plans, "WHOLE_ROWS", 2_000)
    part = make_plan(asked)
    assert (whole.simulated_rows, part.simulated_rows) == (8_000, 2_000)
    assert part.wall_seconds == pytest.approx(whole.wall_seconds, rel=0.01)
    assert part.refined == pytest.approx(whole.refined, abs=0.005)
    for pool, hours in whole.busy_hours.items():
        assert part.busy_hours[pool] == pytest.approx(hours, rel=0.03)


@pytest.mark.parametrize(
    ("models", "gpus", "rows", "refine"),
    [
        ("timed", 256, 51_200, 0.05),
        ("timed", 256, 51_200, 0.3),
        ("timed-sdxl", 400, 22_000, 0.8),
        ("timed-sdxl", 256, 23_040, 0.3),
    ],
)
def test_a_quick_plan_is_within_two_percent_of_the_whole(
    models: str, gpus: int, rows: int, refine: float
) -> None:
    """On fewer rows, and for 256 GPUs on fewer GPUs. benchmarks/plan_exactness.py has more."""
    spec = make_spec({"input": "-", "output": "-", "models": models, "budget": {"refine": refine}})
    times = stage_times(spec, planned_refinement(spec))
    asked = ask(spec, times, {times.usual_gpu: gpus}, rows)
    plan, whole = make_plan(asked, quick=True), whole_plan(asked)
    assert plan.simulated_rows < rows
    assert plan.wall_seconds == pytest.approx(whole.wall_seconds, rel=0.02)
    assert plan.refined == pytest.approx(whole.refined, abs=0.005)
    assert plan.at_work_hours == pytest.approx(whole.at_work_hours, rel=0.02)


def test_a_short_job_is_simulated_whole_even_in_a_quick_plan() -> None:
    """Six batches for each GPU: a smaller cluster would round them otherwise."""
    spec = make_spec({"input": "-", "output": "-", "models": "timed-sdxl"})
    times = stage_times(spec, planned_refinement(spec))
    plan = make_plan(ask(spec, times, {times.usual_gpu: 256}, 12_800), quick=True)
    assert (plan.simulated_rows, plan.simulated_gpus) == (12_800, 256)


def test_a_large_cluster_is_planned_on_a_small_one_with_the_sizes_of_all() -> None:
    asked = question(10**8, gpus=4096)
    plan = make_plan(asked, quick=True)
    assert plan.simulated_gpus == 100
    assert sum(plan.gpus.values()) == 4096
    first = plan.timeline[0]
    assert first.sizes["student"] + first.sizes["teacher"] == pytest.approx(4096, rel=0.02)
    assert first.reason.startswith("on 100 GPUs: ")
    assert plan.efficiency > 0.95


@pytest.mark.parametrize(("gpus", "few"), [(256, 128), (1000, 100), (4096, 128), (257, 100)])
def test_the_small_cluster_goes_into_the_large_one_in_whole_if_it_can(gpus: int, few: int) -> None:
    """Each size then has its part: a job of few rounds ends as on all GPUs."""
    small = scaled(job(), {"any": gpus}, 10**6, QUICK_GPUS, few_rounds=True)
    assert small is not None
    assert small.gpus == {"any": few}


def test_a_pool_of_few_actors_is_not_scaled() -> None:
    """One student of 512 GPUs has no eighth."""
    plan = make_plan(question(10**6, gpus=512, pools={"student": {"size": 1}}), quick=True)
    assert plan.simulated_gpus == 512
    assert plan.wall_seconds == pytest.approx(10**5, rel=0.02)


def test_a_long_schedule_is_planned_from_rows_all_over_it() -> None:
    models = timed(1.0, 10.0, rejected=[[0, 0.0], [750_000, 1.0]])
    asked = question(10**6, gpus=16, models=models, budget={"threshold": 0.5}, seed_column="n")
    plan = make_plan(asked, quick=True)
    assert plan.simulated_rows < 20_000
    assert plan.refined == pytest.approx(0.25, abs=0.01)


def test_a_large_jobs_calibration_is_paid_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample by the whole job's size is a large part of the rows that are simulated."""
    monkeypatch.setattr(plans, "WHOLE_ROWS", 2_000)
    part = make_plan(question(40_000, pools=POOLS, calibration_rows=None, budget={"refine": 0.03}))
    assert part.simulated_rows == 2_000
    # A student's batch of 10 takes 1 s, and the student is the slower one. The sample has 400 rows.
    assert part.busy_hours["student"] == pytest.approx((4_000 + 40) * 1.0 / 3600)
    assert part.ready_seconds == pytest.approx(40, abs=1)
    assert part.wall_seconds == pytest.approx(4_040, rel=0.02)


@pytest.mark.parametrize(
    ("fields", "rows", "low", "high"),
    [
        ({"calibration_rows": None}, 256, 0.249, 0.356),
        ({"budget": {"nfe": 1 + 0.3 * 100}, "calibration_rows": 1024}, 1024, 0.278, 0.323),
    ],
)
def test_a_plan_says_how_sure_the_refined_fraction_is(
    fields: dict[str, Any], rows: int, low: float, high: float
) -> None:
    found = forecast(job(**fields), rows=3_000)
    assert found.sample_size == rows
    assert found.refined_interval == pytest.approx((low, high), abs=0.002)


def test_the_sample_of_a_plan_is_by_the_whole_jobs_size() -> None:
    assert question(100_000, calibration_rows=None).spec.calibration_rows == 1_000


@pytest.mark.parametrize("budget", [{"refine": 1.0}, {"refine": 0.0}, {"threshold": 0.4}])
def test_a_budget_that_is_certain_has_no_interval(budget: dict[str, float]) -> None:
    found = forecast(job(budget=budget), rows=1_000)
    assert (found.sample_size, found.refined_interval) == (0, None)


def test_more_gpus_are_faster_and_cost_no_less_than_the_work() -> None:
    two, eight = make_plan(question(2000, gpus=2)), make_plan(question(2000, gpus=8))
    assert eight.wall_seconds < two.wall_seconds / 3
    for plan in (two, eight):
        assert 0.5 < plan.efficiency <= 1
        assert plan.gpu_hours == {"any": sum(plan.gpus.values()) * plan.wall_seconds / 3600}


def test_the_table_goes_over_every_budget() -> None:
    table = budget_table(question(1000))
    assert [plan.refined for plan in table] == pytest.approx([n / 10 for n in range(11)], abs=0.005)
    assert all(one.nfe < other.nfe for one, other in pairwise(table))
    assert table[0].wall_seconds < table[10].wall_seconds / 3


def test_the_teacher_alone_draws_everything_whole() -> None:
    asked = question(1_005, gpus=4, rollback={"strength": 0.5}, strategy="refine")
    alone = teacher_only(asked)
    batches = 10 * 10 + 1  # ten whole parts, and one of five rows
    assert alone.wall_seconds == ceil(batches / 4) * 10.0
    assert alone.nfe == 100
    # A refinement is half as long.
    assert asked.times.teacher.seconds(10, 10, 0) == 5.0


def test_the_fewest_gpus_that_end_in_time() -> None:
    asked = question(2000)
    within = make_plan(asked.on({"any": 6})).wall_seconds * 1.01
    found = fewest_gpus(asked, within)
    (count,) = found.gpus.values()
    assert found.wall_seconds <= within
    assert count <= 6
    assert make_plan(asked.on({"any": count - 1})).wall_seconds > within


def test_a_deadline_that_nothing_makes_is_refused_with_the_reason() -> None:
    models = timed(1.0, 10.0)
    models["student"]["timed"]["load_seconds"] = 60.0
    with pytest.raises(SpecError, match=r"even 16 GPUs take .* pass before the first part begins"):
        fewest_gpus(question(1000, models=models), 50, most=16)


def test_pools_that_need_more_gpus_than_there_are_are_refused() -> None:
    pools = {**POOLS, "teacher": {"size": 4}}
    with pytest.raises(SpecError, match=r"need 4\.6 GPUs .*4 teacher of 0\.9.* there are 4"):
        make_plan(question(100, gpus=4, pools=pools))


def test_a_threshold_refines_what_the_stand_in_says() -> None:
    asked = question(1000, models=timed(1.0, 10.0, rejected=0.1), budget={"threshold": 0.5})
    assert make_plan(asked).refined == pytest.approx(0.1, abs=0.005)
    higher = question(1000, models=timed(1.0, 10.0, rejected=0.1), budget={"threshold": 0.75})
    assert make_plan(higher).refined == pytest.approx(0.55, abs=0.005)


def test_a_schedule_is_planned_row_by_row() -> None:
    models = timed(1.0, 10.0, rejected=[[0, 0.0], [1500, 1.0]])
    asked = question(2000, models=models, budget={"threshold": 0.5}, seed_column="n")
    plan = make_plan(asked)
    assert plan.refined == 0.25
    assert plan.simulated_rows == 2000


def test_a_plan_of_an_input_is_of_its_very_rows(tmp_path: Path) -> None:
    """The seeds decide which rows are rejected, and so the plan knows."""
    file = tmp_path / "prompts.csv"
    file.write_text("prompt,n\n" + "".join(f"picture,{n}\n" for n in range(1000, 1400)))
    models = timed(1.0, 10.0, rejected=[[0, 1.0], [1300, 0.0]])
    spec = job(models=models, budget={"threshold": 0.5}, seed_column="n", input=str(file))
    times = stage_times(spec, planned_refinement(spec))
    plan = make_plan(ask(spec, times, {"any": 2}))
    assert (plan.num_rows, plan.refined) == (400, 0.75)


def test_a_plan_leaves_the_log_as_it_was() -> None:
    logger = logging.getLogger("bottega")
    before = logger.level
    make_plan(question(100))
    assert logger.level == before


def test_a_plan_of_a_shared_gpu_has_the_time_of_taking_turns() -> None:
    """One GPU, all three on it: the student's 100 s and the teacher's 300 s."""
    one = make_plan(question(1000, gpus=1))
    assert one.wall_seconds == pytest.approx(300, rel=0.15)
    assert one.alone_seconds == pytest.approx(100 + 300, rel=0.15)
    many = make_plan(question(1000, gpus=4))
    assert many.alone_seconds == many.wall_seconds


@pytest.mark.parametrize("instant", ["student", "oracle", "teacher", "student oracle teacher"])
@pytest.mark.parametrize("load_seconds", [0.0, 10.0])
def test_stand_ins_that_take_no_time_can_be_planned(instant: str, load_seconds: float) -> None:
    def model(role: str) -> dict[str, Any]:
        seconds = {1: 0.0 if role in instant.split() else 0.1}
        own = {"timed": {"seconds": seconds, "load_seconds": load_seconds}, "batch_size": 8}
        return own if role == "oracle" else own | {"steps": 4, "guidance_scale": 1.0}

    models = {role: model(role) for role in ("student", "oracle", "teacher")}
    found = forecast(make_spec({"input": "-", "output": "-", "models": models}), rows=600, gpus=4)
    assert found.plan.refined == pytest.approx(0.3, abs=0.05)
    assert "NaN" not in found.as_json()


def test_actors_of_two_gpus_are_refused() -> None:
    fields = {"input": "-", "output": "-", "models": "timed"}
    two = make_spec({**fields, "pools": {"teacher": {"gpus_per_actor": 2}}})
    with pytest.raises(SpecError, match="gpus_per_actor: an actor of 2 GPUs would leave 1 of them"):
        forecast(two, rows=600, gpus=4)
    with pytest.raises(SpecError, match="gpus_per_actor"):
        resolve(two)


def test_a_job_that_is_for_cores_has_no_plan() -> None:
    spec = job(pools={"device": "cpu"})
    with pytest.raises(SpecError, match=r"pools.device: cpu: a plan is for GPUs"):
        ask(spec, stage_times(spec, planned_refinement(spec)), {"any": 1}, 100)
