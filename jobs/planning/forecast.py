"""The numbers of `bottega plan`, from its options. `cluster` shows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.errors import SpecError
from actors.refinement import Refinement
from jobs.output.folder import OutputFolder
from jobs.planning.dataset_size import DatasetSize, dataset_size
from jobs.planning.plan import (
    Plan,
    Question,
    ask,
    budget_table,
    fewest_gpus,
    make_plan,
    teacher_only,
)
from jobs.planning.planned_search import PlannedSearch, planned_search
from jobs.planning.prices import Prices, read_duration, read_gpus, read_prices
from jobs.planning.prompt_cuts import prompt_cuts
from jobs.planning.stage_times import stage_times
from jobs.refinement import as_planned, planned_through
from jobs.searched import as_begun, asked_otherwise, is_open
from jobs.spec.job_spec import JobSpec
from jobs.spec.sample import refined_interval, sample_size
from jobs.spec.threshold import certain

USUAL_GPUS = "8"
"""Without --gpus. Chosen: the GPUs of one usual machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The job's plan, a plan of the teacher alone, and a plan for each tenth of a budget.

    `refined_interval`: the fraction that a real run refines lies in it, 95 times in 100, as its
    threshold comes from a sample; None where that is certain, or the plan has the sample's scores.
    `truncated`: rows of a sample, and by role how many of their prompts are longer than it reads;
    None where that is not known. `through`: what the teacher gets of the student's picture, in
    words; None where that is nothing. `search`: what the calibration does, where it is to find the
    ladder; then the plans are of the common ladder of the same budget: one drawing, and the teacher
    for so many rows as that pays for.
    """

    question: Question
    plan: Plan
    teacher_only: Plan
    budgets: tuple[Plan, ...]
    prices: Prices
    deadline_seconds: float | None
    refined_interval: tuple[float, float] | None
    through: str | None = None
    search: PlannedSearch | None = None
    truncated: tuple[int, dict[str, int]] | None = None

    @property
    def dataset(self) -> DatasetSize:
        """The dataset's bytes and files."""
        asked = self.question
        return dataset_size(
            *(asked.spec, asked.num_rows, self.plan.refined, asked.times.row_bytes),
            row_pixels=asked.row_pixels,
        )

    @property
    def sample_size(self) -> int:
        """Rows of the calibration's sample; 0 for a budget that needs none."""
        spec, rows = self.question.spec, self.question.num_rows
        return 0 if certain(spec) else sample_size(spec.calibration_rows, rows)

    def as_json(self) -> str:
        """The forecast for programs. `cost` is in dollars, null where a type has no price."""
        page = {
            "job": self.question.spec.name,
            "rows": self.question.num_rows,
            "times": self.question.times.source,
            "prices_are_examples": self.prices.are_examples,
            "deadline_seconds": self.deadline_seconds,
            "sample_size": self.sample_size,
            "refined_interval": self.refined_interval,
            "through": self.through,
            "search": None if self.search is None else asdict(self.search),
            "truncated": self.truncated and {"rows": self.truncated[0], **self.truncated[1]},
            "dataset": self.dataset.as_json(),
            "plan": _plan_as_json(self.plan, self.prices),
            "teacher_only": _plan_as_json(self.teacher_only, self.prices),
            "budgets": [
                {"refine": tenth / 10, **_plan_as_json(plan, self.prices)}
                for tenth, plan in enumerate(self.budgets)
            ],
        }
        return json.dumps(page, indent=2) + "\n"


def plan(
    spec: JobSpec,
    *,
    gpus: int | str | None = None,
    deadline: str | None = None,
    rows: int | None = None,
    profile: str | Path | None = None,
    measured: str | Path | None = None,
    prices: str | Path | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Forecast:
    """Simulate a job on so many GPUs, or find the fewest that meet the deadline. Starts nothing.

    gpus: 8, or `A100-80G=8,L4=4`. deadline: `90m`, `6h`, `2d`. rows: instead of the input's.
    profile: a CSV with the models' seconds; measured: the output of a job with these models.
    prices: a CSV of gpu,per_hour. docs/plan.md has more of each. on_step: called with what is
    simulated next, for people who wait. Raises a UserError.
    """
    if spec.search is not None:
        before = OutputFolder(spec.output).read_job()
        if not is_open(before) and not asked_otherwise(spec, before):
            spec = as_begun(spec, before)  # it was found
    times = stage_times(spec, _first(spec), _path(profile), measured)
    table = read_prices(_path(prices))
    counts = read_gpus(str(USUAL_GPUS if gpus is None else gpus), usual=times.usual_gpu)
    question = ask(spec, times, counts, rows)
    search = planned_search(spec, question.num_rows)
    seconds = read_duration(deadline) if deadline else None
    if seconds is None:
        on_step("simulating the job")
        found = make_plan(question)
    else:
        on_step("looking for the fewest GPUs")
        _check_search(spec, counts)
        most = {"most": question.num_gpus} if gpus is not None else {}
        found = fewest_gpus(question, seconds, **most)
        question = question.on(found.gpus)
    return Forecast(
        question=question,
        plan=found,
        teacher_only=teacher_only(question),
        # A ladder's thresholds are its own: there is no budget to vary. Nor where one is searched.
        budgets=() if spec.ladder or search else tuple(budget_table(question, on_step)),
        prices=table,
        deadline_seconds=seconds,
        refined_interval=_refined_interval(question, found),
        through=planned_through(spec),
        search=search,
        truncated=prompt_cuts(spec) if rows is None else None,
    )


def _refined_interval(question: Question, plan: Plan) -> tuple[float, float] | None:
    spec, rows = question.spec, question.num_rows
    has_the_sample = question.prompts is not None and plan.simulated_rows == rows
    if has_the_sample or certain(spec) or plan.refined in (0, 1):
        return None
    return refined_interval(plan.refined, sample_size(spec.calibration_rows, rows), rows)


def _first(spec: JobSpec) -> Refinement:
    """The teacher's first attempt; of a ladder without a teacher, a drawing that is never made."""
    steps = spec.models.teacher.steps
    return next(iter(as_planned(spec)), Refinement("regenerate", 1.0, steps, "latents"))


def _path(file: str | Path | None) -> Path | None:
    return None if file is None else Path(file)


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


def _plan_as_json(plan: Plan, prices: Prices) -> dict[str, Any]:
    return {
        "gpus": dict(plan.gpus),
        "refined": plan.refined,
        "rungs": list(plan.rungs),
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
        "simulated_gpus": plan.simulated_gpus,
        "pools": [
            {"seconds": moment.seconds, "sizes": dict(moment.sizes), "reason": moment.reason}
            for moment in plan.timeline
        ],
    }
