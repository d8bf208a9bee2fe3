"""A job, resolved: every choice made, every model folder looked at, nothing started yet."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from importlib.metadata import version
from math import floor
from pathlib import Path
from typing import Any

from actors.errors import OutputError, SpecError
from actors.models import sources
from actors.models.families import family_of
from actors.models.folders import check_folder
from actors.models.oracles import files as oracle_sources
from actors.models.pairing import check_roles, fitted, follows_instructions, share_latents
from actors.redact import redacted
from actors.refinement import DrawPlan, Refinement, Through
from actors.rollback import (
    MIXING,
    Noise,
    NoiseSchedule,
    default_steps,
    steps_to_ask_for,
    strength_for,
)
from actors.settings import PLACES, ModelSettings, TeacherSettings
from actors.timed import VARIANCES, identities
from jobs.input.discovery import check_apart
from jobs.input.prompts import Prompts
from jobs.output.folder import OutputFolder, check_names
from jobs.output.growth import Files, files_changed, rows_changed
from jobs.rules import Rules
from jobs.spec.job_spec import NOT_IN_THE_BYTES, JobSpec, Rollback, make_spec
from jobs.spec.task import conditioning_of

log = logging.getLogger("bottega.job")

DEFAULT_ROLLBACK = Rollback(strength=0.6)

NEAR_STRENGTH = 0.05
"""A start so near to the one that was asked for is not told of."""


@dataclass(frozen=True)
class Job:
    """What the runner and the calibration need to know, beside the threshold."""

    spec: JobSpec
    prompts: Prompts
    output: OutputFolder
    refinement: Refinement
    model_files: dict[str, str]
    """Role -> hash of the model's files."""

    @property
    def draw_plan(self) -> DrawPlan:
        """What the student is to do."""
        spec = self.spec
        return DrawPlan(
            spec.draws, conditioning_of(spec.task, spec.edit, spec.control, spec.image_fit)
        )

    @property
    def student_nfe(self) -> int:
        """Network evaluations of all drawings of a row by the student."""
        student = self.spec.models.student
        return student.steps * student.evaluations_per_step * self.spec.draws

    @property
    def teacher_nfe(self) -> int:
        """Network evaluations of one refinement."""
        return self.refinement.steps * self.spec.models.teacher.evaluations_per_step

    def rules(self, threshold: float) -> Rules:
        """What the cascade goes by."""
        spec = self.spec
        return Rules(
            threshold=threshold,
            student_batch=spec.models.student.batch_size,
            teacher_batch=spec.models.teacher.batch_size,
            strategy=spec.strategy,
            through=self.refinement.through,
            keep=spec.keep,
            save_student=spec.save_student,
            draws=spec.draws,
            max_attempts=spec.max_attempts,
        )

    def identity(self) -> dict[str, Any]:
        """Everything that the output's bytes depend on. A resumed run must have the same.

        Model files count by their content, so that the same models at another path are the same.
        Of pictures that the input names by their paths, only the paths count.
        """
        spec = self.spec.model_dump(mode="json", exclude=set(NOT_IN_THE_BYTES))
        _take_places_out(spec["models"])
        pools = self.spec.pools
        identity = {
            "spec": spec,
            # Measured: a 1x1 convolution of oneDNN gives other last bits with other threads.
            "threads": {name: pool.threads_per_actor for name, pool in pools.by_name.items()},
            "input_files": self.prompts.describe_files(),
            "model_files": self.model_files,
        }
        # As job.json has it, so that what is compared is alike.
        return dict(redacted(identity))

    def _written_spec(self) -> dict[str, Any]:
        """The whole spec, for a retry; perhaps from another working folder."""
        spec = self.spec.model_dump(mode="json")
        spec["input"] = str(Path(self.spec.input).expanduser().absolute())
        return dict(redacted(spec))

    def is_news_to(self, before: dict[str, Any]) -> bool:
        """Whether job.json says less or other than this job: its input grew, or was moved."""
        return bool(before["identity"] != self.identity() or before["spec"] != self._written_spec())

    def write(self, calibration: dict[str, Any], replace: bool = False) -> None:
        """Fix the threshold in job.json, before the first part starts.

        Without `replace` a job.json that another driver wrote meanwhile stays.
        """
        self.output.write_job(
            {
                "identity": self.identity(),
                "spec": self._written_spec(),
                "rows": self.prompts.num_rows,
                "threshold": calibration["threshold"],
                "calibration": calibration,
                **self.about(),
            },
            replace,
        )

    def claim(self) -> None:
        """Refuse an output that is not ours, or that the input reads; touches nothing."""
        check_apart(self.spec.input, self.output.path)
        self.output.claim()

    def continues(self, extend: bool = False) -> dict[str, Any] | None:
        """The job.json that is in the output folder already; None for a new job.

        With `extend` the input may have grown since. Raises OutputError, with what differs, if it
        is another job's.
        """
        before = self.output.read_job()
        if before is None:
            return None
        identity = self.identity()
        old_files, files = before["identity"]["input_files"], identity["input_files"]
        grown = old_files != files and files_changed(old_files, files) is None
        if extend:
            identity["input_files"] = old_files
        changed = _differences(before["identity"], identity)
        if changed:
            hint = "\nIf the input only grew, add --extend." if grown else ""
            raise OutputError(
                f"output {str(self.output.path)!r} holds another job. What differs:\n"
                + "\n".join(f"  {line}" for line in changed)
                + "\nChoose a new output folder, or put the job back as it was."
                + hint
            )
        if extend and old_files != files:
            self._check_grown(before, files)
        for line in _differences(before["versions"], self.about()["versions"]):
            log.warning("continuing with another version, which may change bytes: %s", line)
        return before

    def _check_grown(self, before: dict[str, Any], files: Files) -> None:
        changed = files_changed(before["identity"]["input_files"], files) or rows_changed(
            self.output, self.prompts, before["rows"]
        )
        if changed:
            raise OutputError(
                f"the input {self.spec.input!r} did more than grow: {changed}. --extend goes on "
                "where rows were added at the end of the last file, or files after it. Put the "
                "rows back as they were, or choose a new output folder."
            )

    def about(self) -> dict[str, Any]:
        """For people, in job.json: how it was resolved, and the versions it ran with."""
        packages = (
            *("bottega", "ray", "torch", "diffusers", "transformers", "pyarrow"),
            *("numpy", "pillow", "opencv-python-headless"),
        )
        return {
            "name": self.spec.name,
            "models": {
                role: "timed" if settings.timed else settings.path or settings.kind
                for role, settings in self.spec.models
            },
            "refinement": {
                "strategy": self.refinement.strategy,
                "strength": self.refinement.strength,
                "steps": self.refinement.steps,
                "through": self.refinement.through,
            },
            "nfe": {"student": self.student_nfe, "teacher": self.teacher_nfe},
            "versions": {name: version(name) for name in packages}
            | {"python": platform.python_version()},
        }


def _take_places_out(fields: Any) -> None:
    """Out of the models' fields, at any depth: where their files are, which count otherwise."""
    below = fields
    if isinstance(fields, dict):
        for name in PLACES & fields.keys():
            del fields[name]
        below = [value for name, value in fields.items() if name != "options"]
    for value in below:
        if isinstance(value, dict | list):
            _take_places_out(value)


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in sorted({*before, *now})
            for line in _differences(before.get(name), now.get(name), f"{path}.{name}".lstrip("."))
        ]
    return [] if before == now else [f"{path.removeprefix('spec.')}: was {before!r}, is {now!r}"]


def spec_of(output: OutputFolder) -> JobSpec:
    """The job that an output folder is of, to be resolved again. Raises a UserError."""
    fields = {**output.require_job()["spec"], "output": str(output.path)}
    return make_spec(fields, where=str(output.job_file))


def resolve(spec: JobSpec) -> Job:
    """Look at the input, the models and the output's name. Raises a UserError for what is wrong."""
    prompts = Prompts(spec)
    check_names(prompts.schema.names, spec.seed_column)
    through: Through
    if spec.models.timed:
        models, files, through, instructed = spec.models, identities(spec.models), "latents", False
    else:
        models, files, through, instructed = _looked_at(spec)
    spec = spec.model_copy(update={"models": models})
    refinement = _refinement(spec, through, instructed)
    output = OutputFolder(Path(spec.output).expanduser().resolve())
    job = Job(spec, prompts, output, refinement, files)
    _check_budget(job)
    _check_edit(spec, instructed)
    return job


def _looked_at(spec: JobSpec) -> tuple[ModelSettings, dict[str, str], Through, bool]:
    """The models pinned, a hash of each one's files, what student and teacher share, and whether
    they follow instructions."""
    models = spec.models
    student, student_files = sources.resolved(models.student)
    teacher, teacher_files = sources.resolved(models.teacher)
    oracle, oracle_files = oracle_sources.resolved(models.oracle)
    files = {"student": student_files, "oracle": oracle_files, "teacher": teacher_files}
    at, teacher_at = check_folder(student), check_folder(teacher)
    check_roles(at, teacher_at, spec.strategy, spec.task)
    shared = share_latents(student, at, teacher, teacher_at)
    known = ModelSettings(
        student=fitted(student, at), oracle=oracle, teacher=fitted(teacher, teacher_at)
    )
    return known, files, "latents" if shared else "pixels", family_of(teacher_at).instructed


def planned_refinement(
    spec: JobSpec, through: Through = "latents", instructed: bool = False
) -> Refinement:
    """What the teacher is to do; its files are looked at only for a rollback to a noise level.

    instructed: whether it edits by an instruction, and so from noise.
    """
    given = conditioning_of(spec.task, spec.edit, spec.control, spec.image_fit)
    strength = _strength(spec)
    if given and given.task == "edit" and spec.strategy == "regenerate" and not instructed:
        strength = given.strength
    steps = spec.teacher_steps or default_steps(strength, spec.models.teacher.steps)
    return Refinement(spec.strategy, strength, steps, through, given)


def as_planned(spec: JobSpec) -> Refinement:
    """What the teacher is to do, as far as that is known without fetching models."""
    instructed = follows_instructions(spec.models.teacher)
    if instructed:
        _check_instructed(spec)
    return planned_refinement(spec, instructed=instructed)


def _refinement(spec: JobSpec, through: Through, instructed: bool) -> Refinement:
    planned = planned_refinement(spec, through, instructed)
    most = floor(planned.strength * _schedule(spec.models.teacher).num_timesteps)
    if planned.steps > most:
        raise SpecError(
            f"teacher_steps: {planned.steps} steps do not fit between the rollback (strength "
            f"{planned.strength:.3g}) and a clean picture: the teacher's schedule has {most} "
            "there. Lower teacher_steps or raise the rollback."
        )
    if planned.strategy == "refine" and not spec.models.timed:
        rounding = family_of(check_folder(spec.models.teacher)).rounding
        asked = steps_to_ask_for(planned.strength, planned.steps, rounding)
        _tell_of_a_far_start("the rollback", "teacher", planned.strength, planned.steps, asked)
    return planned


def _schedule(teacher: TeacherSettings) -> NoiseSchedule:
    if teacher.timed:
        return NoiseSchedule("diffusion", len(VARIANCES), VARIANCES)
    from actors.models.schedulers import schedule_of

    return schedule_of(teacher)


def _strength(spec: JobSpec) -> float:
    if spec.strategy == "regenerate":
        return 1.0
    rollback = spec.rollback or DEFAULT_ROLLBACK
    if rollback.strength is not None:
        return rollback.strength
    schedule = _schedule(spec.models.teacher)
    if rollback.variance is not None:
        _check_mixing(spec, schedule, "variance", "diffusion")
        return strength_for(rollback.variance, schedule.levels)
    assert rollback.sigma is not None
    _check_mixing(spec, schedule, "sigma", "flow")
    return strength_for(rollback.sigma, schedule.levels)


def _check_mixing(spec: JobSpec, schedule: NoiseSchedule, name: str, noise: Noise) -> None:
    """Refuse a level of noise that is said in another rule's terms than the teacher's."""
    if schedule.noise != noise:
        raise SpecError(
            f"rollback.{name} is for {MIXING[noise]}; the teacher "
            f"{spec.models.teacher.path!r} mixes picture and noise by {MIXING[schedule.noise]}. "
            "Give rollback.strength, the fraction of its timesteps, or the level in its own terms: "
            "variance for diffusion, sigma for flow matching."
        )


def _check_edit(spec: JobSpec, instructed: bool) -> None:
    """Refuse a start that the student's few steps cannot reach; tell of one that they miss."""
    given = conditioning_of(spec.task, spec.edit, spec.control, spec.image_fit)
    if given is None or given.task != "edit" or spec.models.timed:
        return
    if instructed:
        _check_instructed(spec)
        if spec.target_column is None:
            log.warning(
                "the oracle is shown the instructions; most judge only what a picture shows. Name "
                "the column that says it: target_column"
            )
        return
    from actors.models.schedulers import most_steps

    student = spec.models.student
    rounding = family_of(check_folder(student)).rounding
    asked, most = steps_to_ask_for(given.strength, student.steps, rounding), most_steps(student)
    if asked > most:
        raise SpecError(
            f"edit.strength: {given.strength:g} in {student.steps} steps needs a schedule of "
            f"{asked} steps, and the student's has at most {most}. Raise it, or lower "
            "models.student.steps."
        )
    _tell_of_a_far_start("edit.strength", "student", given.strength, student.steps, asked)


def _check_instructed(spec: JobSpec) -> None:
    if spec.edit is not None:
        raise SpecError("edit: it says nothing to models that follow instructions. Leave it out.")


def _tell_of_a_far_start(what: str, who: str, strength: float, steps: int, asked: int) -> None:
    """Few steps have few starts; asked: the steps of the schedule of which `steps` are taken."""
    if abs(steps / asked - strength) > NEAR_STRENGTH:
        log.warning(
            "%s is %g; with %d step%s the %s starts at %.2f, the nearest that its schedules have",
            what, strength, steps, "s" * (steps > 1), who, steps / asked,
        )  # fmt: skip


def _check_budget(job: Job) -> None:
    nfe = job.spec.budget.nfe
    if nfe is not None and nfe < job.student_nfe:
        raise SpecError(
            f"budget.nfe: {nfe:g} is less than the student alone takes ({job.student_nfe} network "
            "evaluations a picture). Raise it, or lower models.student.steps or draws."
        )
