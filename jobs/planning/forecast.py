"""The numbers of `bottega plan`, from its options. `cluster` shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.errors import SpecError
from jobs.planning.plan import (
    Plan,
    Question,
    ask,
    budget_table,
    fewest_gpus,
    make_plan,
    teacher_only,
)
from jobs.planning.prices import Prices, read_duration, read_gpus, read_prices
from jobs.planning.stage_times import stage_times
from jobs.refinement import as_planned
from jobs.spec.job_spec import JobSpec

USUAL_GPUS = "8"
"""Without --gpus. Chosen: the GPUs of one usual machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command line; see `bottega plan --help`."""

    gpus: str | None = None
    deadline: str | None = None
    rows: int | None = None
    profile: Path | None = None
    measured: Path | None = None
    prices: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The job's plan, a plan of the teacher alone, and a plan for each tenth of a budget."""

    question: Question
    plan: Plan
    teacher_only: Plan
    budgets: tuple[Plan, ...]
    prices: Prices
    deadline_seconds: float | None


def forecast(spec: JobSpec, options: Options) -> Forecast:
    """Simulate the job with these options. Raises a UserError."""
    times = stage_times(spec, as_planned(spec), options.profile, options.measured)
    prices = read_prices(options.prices)
    gpus = read_gpus(options.gpus or USUAL_GPUS, usual=times.usual_gpu)
    question = ask(spec, times, gpus, options.rows)
    deadline = read_duration(options.deadline) if options.deadline else None
    if deadline is None:
        plan = make_plan(question)
    else:
        _check_search(spec, gpus)
        most = {"most": question.num_gpus} if options.gpus else {}
        plan = fewest_gpus(question, deadline, **most)
        question = question.on(plan.gpus)
    return Forecast(
        question=question,
        plan=plan,
        teacher_only=teacher_only(question),
        budgets=tuple(budget_table(question)),
        prices=prices,
        deadline_seconds=deadline,
    )


def _check_search(spec: JobSpec, gpus: Mapping[str, int]) -> None:
    if len(gpus) > 1:
        raise SpecError(
            "--deadline finds how many GPUs of one type it takes, and --gpus names "
            f"{len(gpus)}: {', '.join(gpus)}. Name one, with the most that there may be."
        )
    fixed = [name for name, pool in spec.pools.by_name.items() if pool.size is not None]
    if fixed:
        raise SpecError(
            f"--deadline finds the sizes of the pools, and pools.{fixed[0]}.size fixes one. Take "
            "it out, or plan without a deadline."
        )


def as_json(found: Forecast) -> str:
    """The forecast for programs. `cost` is in dollars, null where a type has no price."""
    prices = found.prices
    page = {
        "job": found.question.spec.name,
        "rows": found.question.num_rows,
        "times": found.question.times.source,
        "prices_are_examples": prices.are_examples,
        "deadline_seconds": found.deadline_seconds,
        "plan": _plan_as_json(found.plan, prices),
        "teacher_only": _plan_as_json(found.teacher_only, prices),
        "budgets": [
            {"refine": tenth / 10, **_plan_as_json(plan, prices)}
            for tenth, plan in enumerate(found.budgets)
        ],
    }
    return json.dumps(page, indent=2) + "\n"


def _plan_as_json(plan: Plan, prices: Prices) -> dict[str, Any]:
    return {
        "gpus": dict(plan.gpus),
        "refined": plan.refined,
        "nfe": plan.nfe,
        "ready_seconds": plan.ready_seconds,
        "wall_seconds": plan.wall_seconds,
        "alone_seconds": plan.alone_seconds,
        "gpu_hours": plan.gpu_hours,
        "at_work_hours": plan.at_work_hours,
        "busy_hours": dict(plan.busy_hours),
        "efficiency": plan.efficiency,
        "cost": prices.cost(plan.gpu_hours),
        "simulated_rows": plan.simulated_rows,
        "pools": [
            {"seconds": moment.seconds, "sizes": dict(moment.sizes), "reason": moment.reason}
            for moment in plan.timeline
        ],
    }
