"""Resolves a job: makes every choice, looks at every model folder, and starts nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path

from actors.errors import OutputError, SpecError
from actors.models.model_files import open_model_files
from actors.refinement import SAME_FOR_ALL, DrawPlan, Refinement, RowOptions, Size
from actors.timed import identities
from jobs.input.column_names import check_readable
from jobs.input.prompts import Prompts
from jobs.input.row_options import check_options
from jobs.output.columns import check_names, our_columns
from jobs.output.folder import OutputFolder
from jobs.output.score_columns import score_columns
from jobs.refinement import check_edit, refinements_in, refinements_of
from jobs.rules import Rules
from jobs.searched import as_begun, asked_otherwise, is_open
from jobs.spec.climb import Ladder
from jobs.spec.gpu_limits import check_gpus
from jobs.spec.job_spec import JobSpec
from jobs.spec.ladder import LadderRung
from jobs.spec.ladder_search import LEAST_ROWS, Asked, asked_by, with_ladder
from jobs.spec.part_size import check_part_size
from jobs.spec.sample import sample_size
from jobs.spec.sizes import of_size
from jobs.spec.task import conditioning_of
from jobs.storage.urls import HUB, checked, is_url

log = logging.getLogger("bottega.job")


@dataclass(frozen=True)
class Job:
    """A resolved job: everything that a run needs but the threshold."""

    spec: JobSpec
    prompts: Prompts
    output: OutputFolder
    refinements: tuple[Refinement, ...]
    """Of the teacher's attempts, in order; none in a ladder without a teacher."""
    model_files: dict[str, str]
    """Role -> hash of the model's files: student, oracle and teacher."""
    weight_bytes: int = 0
    """Of the larger one of student and teacher; stand-ins have none."""
    refinements_in: Mapping[Size, tuple[Refinement, ...]] = field(default_factory=dict)
    """By size, where rows have several: the same with the starts of that size."""
    asked: Asked | None = None
    """The search that the calibration is to make; the ladder then has every attempt of it."""

    @property
    def refinement(self) -> Refinement:
        """Of the teacher's first attempt, where it has one."""
        return self.refinements[0]

    @property
    def draw_plan(self) -> DrawPlan:
        """The student's task on each row: its first drawing."""
        spec = self.spec
        conditioning = conditioning_of(spec.task, spec.edit, spec.control, spec.image_fit)
        size = self.refinements[0].size if self.refinements else None
        return DrawPlan(spec.draws, conditioning, size)

    @cached_property
    def plans(self) -> tuple[DrawPlan | Refinement, ...]:
        """By rung of the ladder: what an actor is to make of a row."""
        first, drawings = self.draw_plan, len(self.spec.attempts) - len(self.refinements)
        further = [
            replace(first, draws=1, first=first.draws - 1 + number) for number in range(1, drawings)
        ]
        return (first, *further, *self.refinements)

    def plan_of(self, rung: int, options: RowOptions) -> DrawPlan | Refinement:
        """What an actor is to make of rows with these options."""
        plan = self.plans[rung]
        if options.canvas and isinstance(plan, Refinement):
            plan = self.refinements_in.get(options.canvas, self.refinements)[plan.attempt]
        return plan if options == SAME_FOR_ALL else replace(plan, options=options)

    @property
    def student_nfe(self) -> int:
        """Network evaluations of all drawings of a row by the student."""
        student = self.spec.models.student
        return student.steps * student.evaluations_per_step * self.spec.draws

    @property
    def teacher_nfe(self) -> int:
        """Network evaluations of the teacher's first attempt; 0 without one."""
        if not self.refinements:
            return 0
        return self.refinements[0].steps * self.spec.models.teacher.evaluations_per_step

    @property
    def rung_nfe(self) -> tuple[int, ...]:
        """Network evaluations of a row, by rung of the ladder."""
        student, teacher = self.spec.models.student, self.spec.models.teacher
        once = student.steps * student.evaluations_per_step
        drawings = len(self.spec.attempts) - len(self.refinements) - 1
        refined = [one.steps * teacher.evaluations_per_step for one in self.refinements]
        return (self.student_nfe, *[once] * drawings, *refined)

    def with_ladder(self, ladder: tuple[LadderRung, ...], attempts: Sequence[int]) -> Job:
        """The job with a ladder of some of its attempts, by their numbers, in place of all."""
        drawings = len(self.spec.attempts) - len(self.refinements)
        taken = [number - drawings for number in attempts if number >= drawings]

        def some(of: tuple[Refinement, ...]) -> tuple[Refinement, ...]:
            return tuple(replace(of[number], attempt=n) for n, number in enumerate(taken))

        return replace(
            self,
            spec=with_ladder(self.spec, ladder),
            refinements=some(self.refinements),
            refinements_in={size: some(of) for size, of in self.refinements_in.items()},
            asked=None,
        )

    @property
    def sample_size(self) -> int:
        """Rows of the calibration's sample."""
        return sample_size(self.spec.calibration_rows, self.prompts.num_rows)

    @property
    def rungs(self) -> Ladder:
        """The ladder without its thresholds: no row takes a further rung."""
        first, *others = self.spec.attempts
        return (first.rung(inf), *(attempt.rung(-inf) for attempt in others))

    def rules(self, *thresholds: float) -> Rules:
        """The rules of the cascade, for a threshold of each rung after the first; one is of all."""
        spec, (first, *others) = self.spec, self.rungs
        each = thresholds if len(thresholds) == len(others) else thresholds * len(others)
        rungs = [replace(rung, below=below) for rung, below in zip(others, each, strict=True)]
        return Rules(
            ladder=(first, *rungs),
            student_batch=spec.models.student.batch_size,
            teacher_batch=spec.models.teacher.batch_size,
            through=self.refinements[0].through if self.refinements else "latents",
            save_student=spec.save_student,
            draws=spec.draws,
            save_attempts=spec.ladder is not None,
            max_attempts=spec.max_attempts,
        )


def resolve(spec: JobSpec) -> Job:
    """Look at the input, the models and the output's name. Raises a UserError for each fault."""
    check_gpus(spec)
    if sizes := spec.all_sizes:
        spec = spec.model_copy(update={"models": of_size(spec.models, sizes[0])})
    output = OutputFolder(_resolved(spec.output))
    spec = _with_part_rows(spec, output)
    spec, asked = searching(spec, output)
    prompts = Prompts(spec)
    has_ladder, scores = spec.ladder is not None, score_columns(spec.models.oracle)
    check_names(prompts.schema.names, spec.seed_column, ladder=has_ladder, scores=scores)
    check_readable(prompts.schema, our_columns(True, has_ladder, scores=scores))
    if output.read_job() is None:
        check_options(spec, prompts.options_of_parts())
    made = {attempt.make for attempt in spec.attempts}
    files = None if spec.models.timed else open_model_files(spec.models, made, spec.task)
    if files:
        spec = spec.model_copy(update={"models": files.settings})
    refinements = refinements_of(spec, files)
    by_size = {size: refinements_in(spec, files, size, refinements) for size in sizes[1:]}
    fingerprints = files.fingerprints if files else identities(spec.models)
    weight_bytes = files.weight_bytes if files else 0
    job = Job(spec, prompts, output, refinements, fingerprints, weight_bytes, by_size, asked)
    _check_budget(job)
    _check_search(job)
    if files:
        _check_negatives(job)
    if files:
        check_edit(spec, files)
    return job


def _with_part_rows(spec: JobSpec, output: OutputFolder) -> JobSpec:
    """The job with its rows of a part as a number: that of the output, where the job has begun.

    Another version may have begun it, with another default or without the rule for this number.
    """
    before = output.read_job()
    begun = None if before is None else before["identity"]["spec"]["rows_per_part"]
    rows = spec.rows_per_part or begun or spec.part_rows
    if rows != begun and (warning := check_part_size(rows, spec.batch_sizes)):
        log.warning("%s", warning)
    return spec.model_copy(update={"rows_per_part": rows})


def searching(spec: JobSpec, output: OutputFolder) -> tuple[JobSpec, Asked | None]:
    """The job with the ladder that its search found, or with every attempt of one to be made."""
    if (asked := asked_by(spec)) is None:
        return spec, None
    before = output.read_job()
    if differs := asked_otherwise(spec, before):
        raise OutputError(
            f"output {output.url!r} holds another job. What differs:\n"
            + "\n".join(f"  {line}" for line in differs)
            + "\nChoose a new output folder, or put the job back as it was."
        )
    return as_begun(spec, before), asked if is_open(before) else None


def _check_search(job: Job) -> None:
    """Refuse a search that can find nothing, before anything is drawn."""
    asked = job.asked
    if asked is None:
        return
    if asked.unit == "nfe" and asked.budget < job.student_nfe:
        raise SpecError(
            f"budget.nfe: no ladder costs {asked.budget:g} network evaluations a picture: the "
            f"student's single drawing takes {job.student_nfe}. Raise it."
        )
    if job.prompts.num_rows > 0 and job.sample_size < LEAST_ROWS:
        raise SpecError(
            f"search: {job.sample_size} sampled rows are too few to choose a ladder by, and to "
            f"judge it by: at least {LEAST_ROWS}. Give a job of more rows, or write the ladder's "
            "rungs."
        )


def _resolved(output: str) -> str:
    """The output's URL, or its path without links: the folder that a link names may change.

    Raises SpecError for a URL that is no output.
    """
    if not is_url(output):
        return str(Path(output).expanduser().resolve())
    if checked(output).startswith(f"{HUB}://datasets/"):
        raise SpecError(
            f"output {output!r} is a repository of the hub, which takes finished datasets only. "
            "Write to a folder or to a bucket (hf://buckets/ORG/NAME), and publish what came out."
        )
    return checked(output)


def _check_negatives(job: Job) -> None:
    """Refuse a negative prompt that no model reads, and log which ones do."""
    spec = job.spec
    if spec.negative_prompt is None and spec.negative_prompt_column is None:
        return
    models = {"student": spec.models.student, "teacher": spec.models.teacher}
    readers = [role for role, model in models.items() if model.evaluations_per_step > 1]
    if not readers:
        name = "negative_prompt" if spec.negative_prompt is not None else "negative_prompt_column"
        raise SpecError(
            f"{name}: neither student nor teacher is guided away from anything: a negative prompt "
            "is read with a guidance_scale above 1, by models that evaluate their network twice a "
            "step. Leave it out."
        )
    log.info("the negative prompts are read by the %s", " and the ".join(readers))


def _check_budget(job: Job) -> None:
    nfe = None if job.spec.ladder else job.spec.budget.nfe
    if nfe is not None and nfe < job.student_nfe:
        raise SpecError(
            f"budget.nfe: {nfe:g} is less than the student alone takes ({job.student_nfe} network "
            "evaluations a picture). Raise it, or lower models.student.steps or draws."
        )
