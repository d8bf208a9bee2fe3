"""Chooses the teacher's start and steps from the job and its models, and checks both."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from actors.errors import ModelError, SpecError
from actors.models.file_reader import FileReader
from actors.models.model_files import ModelFiles
from actors.models.pairing import follows_instructions, why_pixels
from actors.models.pipeline_files import PipelineFiles, open_pipeline_files
from actors.refinement import Refinement, Size, Strategy, Through
from actors.rollback import (
    MIXING,
    Noise,
    NoiseSchedule,
    default_steps,
    level_at,
    strength_for,
)
from actors.settings import DiffusionSettings, ModelSettings
from actors.timed import VARIANCES
from jobs.spec.job_spec import JobSpec
from jobs.spec.ladder import Attempt, Rollback
from jobs.spec.sizes import of_size, shown
from jobs.spec.task import conditioning_of

log = logging.getLogger("bottega.job")

DEFAULT_ROLLBACK = Rollback(strength=0.6)
"""Chosen above 0.5, which gained less on the embedded set (docs/embedded.md), and below 0.7, which
takes more steps."""

TIMED_SCHEDULE = NoiseSchedule("diffusion", len(VARIANCES), VARIANCES)
"""The schedule of stand-ins."""

NEAR = 0.05
"""A start nearer than this to the wanted one, in strength and in noise, logs no warning. Chosen:
whole steps move most starts by less, and a warning for each would teach people to skip warnings."""

LEVELS: dict[Noise, str] = {"diffusion": "variance", "flow": "sigma", "angle": "angle"}
"""The name of a noise level, as `rollback` has it."""


def teachers_attempts(spec: JobSpec) -> tuple[Attempt, ...]:
    """The teacher's attempts at a row, in order; none where it has nothing to do."""
    return tuple(attempt for attempt in spec.attempts if attempt.make != "draw")


def planned_refinement(
    spec: JobSpec,
    through: Through = "latents",
    instructed: bool = False,
    schedule: NoiseSchedule | None = None,
    *,
    attempt: Attempt | None = None,
) -> Refinement:
    """The teacher's task; without a schedule, a rollback to a noise level opens its files.

    attempt: of the teacher's; the first by default. instructed: whether the teacher edits by an
    instruction, and so from noise. schedule: its own.
    """
    attempt = attempt or teachers_attempts(spec)[0]
    conditioning = conditioning_of(spec.task, spec.edit, spec.control, spec.image_fit)
    strategy: Strategy = "refine" if attempt.make == "refine" else "regenerate"
    strength = _strength(spec, attempt, schedule)
    if conditioning and conditioning.task == "edit" and strategy == "regenerate" and not instructed:
        strength = conditioning.strength
    steps = attempt.steps or default_steps(strength, spec.models.teacher.steps)
    return Refinement(strategy, strength, steps, through, conditioning)


def as_planned(spec: JobSpec) -> tuple[Refinement, ...]:
    """The teacher's tasks as far as they are known without fetching models."""
    instructed = follows_instructions(spec.models.teacher)
    if instructed:
        _check_instructed(spec)
    found = [
        planned_refinement(spec, instructed=instructed, attempt=attempt)
        for attempt in teachers_attempts(spec)
    ]
    return tuple(replace(one, attempt=number) for number, one in enumerate(found))


def planned_through(spec: JobSpec) -> str | None:
    """What the teacher gets of the student's picture, as far as that is known without the hub."""
    student, teacher = spec.models.student, spec.models.teacher
    if not refines(spec) or spec.models.timed:
        return None
    if _is_here(student) and _is_here(teacher):
        files = (open_pipeline_files(student), open_pipeline_files(teacher))
        return _handed_over(why_pixels(*files, FileReader()))
    if all(getattr(student, name) == getattr(teacher, name) for name in OF_LATENTS):
        return _handed_over(None)
    if (student.width, student.height) != (teacher.width, teacher.height):
        return _handed_over("their sizes differ")
    return "the student's latents or pictures: their autoencoders are compared when they are here"


OF_LATENTS = ("path", "revision", "variant", "vae", "width", "height")
"""Settings by which two models of one repository have one autoencoder and one size."""


def models_are_here(models: ModelSettings) -> bool:
    """Whether all files of a job's models are on this machine, and are no stand-ins."""
    places = [one.path for one in models.oracle.scorers if one.path]
    return (
        not models.timed
        and _is_here(models.student)
        and _is_here(models.teacher)
        and all(Path(place).expanduser().exists() for place in places)
    )


def _is_here(settings: DiffusionSettings) -> bool:
    """Whether all of a model's files are on this machine."""
    parts = (settings, settings.denoiser, settings.vae, settings.controlnet, *settings.all_loras)
    return all(Path(part.path).expanduser().exists() for part in parts if part)


def _handed_over(why_pixels: str | None) -> str:
    return f"the student's pictures: {why_pixels}" if why_pixels else "the student's latents"


def refines(spec: JobSpec) -> bool:
    """Whether an attempt of the teacher's starts from the student's picture."""
    return any(attempt.make == "refine" for attempt in spec.attempts)


def refinements_of(spec: JobSpec, files: ModelFiles | None) -> tuple[Refinement, ...]:
    """The teacher's tasks, checked against its schedule. Raises SpecError for too many steps.

    files: None for stand-ins, which have none.
    """
    if files and refines(spec):
        log.info("the teacher gets %s", _handed_over(files.why_pixels))
    size = _one_size(files) if files else None
    found = [_refinement_of(spec, attempt, files) for attempt in teachers_attempts(spec)]
    return tuple(replace(one, size=size, attempt=number) for number, one in enumerate(found))


def refinements_in(
    spec: JobSpec, files: ModelFiles | None, size: Size, usual: Sequence[Refinement]
) -> tuple[Refinement, ...]:
    """The teacher's tasks on rows of another size; `usual`: those on the first one.

    The steps are the same, so that rows cost alike. But some schedulers shift their noise with the
    size, and then a rollback to a level of noise is another strength. Raises SpecError for a size
    that a model cannot draw.
    """
    if files is None:
        return tuple(usual)
    models = of_size(files.settings, size)
    there = replace(
        files,
        settings=models,
        student=replace(files.student, settings=models.student),
        teacher=replace(files.teacher, settings=models.teacher),
    )
    try:
        _ = there.student.shape, there.teacher.shape
    except ModelError as error:
        raise SpecError(f"sizes: {shown(size)}: {error}") from error
    log.info("rows of %s:", shown(size))
    steps = {one.attempt: one.steps for one in usual}
    found = [
        _refinement_of(spec, replace(attempt, steps=steps[number]), there)
        for number, attempt in enumerate(teachers_attempts(spec))
    ]
    return tuple(replace(one, attempt=number) for number, one in enumerate(found))


def _refinement_of(spec: JobSpec, attempt: Attempt, files: ModelFiles | None) -> Refinement:
    through: Through = files.through if files else "latents"
    schedule = _schedule(files.teacher) if files else TIMED_SCHEDULE
    instructed = files is not None and files.instructed
    planned = planned_refinement(spec, through, instructed, schedule, attempt=attempt)
    most = int(planned.strength * schedule.num_timesteps)
    if planned.steps > most:
        name, back = "teacher_steps", "the rollback"
        if spec.ladder is not None:
            name, back = f"ladder: {attempt.make}.steps", f"the {attempt.make}'s start"
        raise SpecError(
            f"{name}: {planned.steps} steps do not fit between {back} (strength "
            f"{planned.strength:.3g}) and a clean picture: the teacher's schedule has {most} "
            f"there. Lower {name.removeprefix('ladder: ')}"
            f"{f' or raise {back}' if planned.strength < 1 else ''}."
        )
    if files is None or planned.strategy != "refine":
        return planned
    back = "the rollback" if spec.ladder is None else "the ladder's refine"
    start = _log_start("teacher", back, files.teacher, planned.strength, planned.steps)
    return replace(planned, start=start)


def _one_size(files: ModelFiles) -> Size | None:
    """The size of all the dataset's pictures; None where student and teacher draw it anyway.

    The larger one: a picture's size would say who drew it, and an oracle would judge by it. The
    other's pictures are resized before they are scored, as arXiv 2312.10835 does for SDXL-Turbo.
    """
    shapes = [files.student.shape, files.teacher.shape]
    one, other = ((shape.width, shape.height) for shape in shapes)
    if one == other:
        return None
    size = max(one, other, key=lambda size: (size[0] * size[1], size))
    log.info(
        "the student draws %d x %d and the teacher %d x %d: the dataset has %d x %d",
        *one, *other, *size,
    )  # fmt: skip
    return size


def _schedule(teacher: PipelineFiles[DiffusionSettings]) -> NoiseSchedule:
    from actors.models.noise_levels import schedule_of  # imports torch, which a plan does not need

    return schedule_of(teacher)


def _strength(spec: JobSpec, attempt: Attempt, schedule: NoiseSchedule | None) -> float:
    if attempt.make == "regenerate":
        return 1.0
    rollback = attempt.rollback or DEFAULT_ROLLBACK
    if rollback.strength is not None:
        return rollback.strength
    teacher = spec.models.teacher
    if schedule is None:
        schedule = TIMED_SCHEDULE if teacher.timed else _schedule(open_pipeline_files(teacher))
    if rollback.variance is not None:
        _check_mixing(spec, schedule, "variance", "diffusion")
        return strength_for(rollback.variance, schedule.levels)
    assert rollback.sigma is not None
    _check_mixing(spec, schedule, "sigma", "flow")
    return strength_for(rollback.sigma, schedule.levels)


def _check_mixing(spec: JobSpec, schedule: NoiseSchedule, name: str, noise: Noise) -> None:
    """Refuse a noise level in the terms of another rule than the teacher's."""
    if schedule.noise != noise:
        where = "rollback" if spec.ladder is None else "refine"
        raise SpecError(
            f"{where}.{name} is for {MIXING[noise]}; the teacher "
            f"{spec.models.teacher.path!r} mixes picture and noise by {MIXING[schedule.noise]}. "
            f"Give {where}.strength, the fraction of its timesteps, or the level in its own terms: "
            "variance for diffusion, sigma for flow matching."
        )


def check_edit(spec: JobSpec, files: ModelFiles) -> None:
    """Refuse settings that an editor does not use; log where the student starts."""
    conditioning = conditioning_of(spec.task, spec.edit, spec.control, spec.image_fit)
    if conditioning is None or conditioning.task != "edit":
        return
    if files.instructed:
        _check_instructed(spec)
        if spec.target_column is None:
            log.warning(
                "the oracle gets the instructions as prompts; most oracles judge only what a "
                "picture shows. Name the column that describes the result: target_column"
            )
        return
    student = files.student
    _log_start("student", "edit.strength", student, conditioning.strength, student.settings.steps)


def _check_instructed(spec: JobSpec) -> None:
    if spec.edit is not None:
        raise SpecError("edit: models that follow instructions do not use it. Leave it out.")


def _log_start(
    who: str, what: str, files: PipelineFiles[DiffusionSettings], strength: float, steps: int
) -> float:
    """Log where `who` really starts, as a warning where that is far from what was asked for.

    Returns the noise there.
    """
    from actors.models.noise_levels import schedule_of, start_of

    start, schedule = start_of(files, strength, steps), schedule_of(files)
    wanted = level_at(strength, schedule.levels)
    is_far = max(abs(start.level - wanted), abs(start.strength - strength)) > NEAR
    name = LEVELS[schedule.noise]
    log.log(
        logging.WARNING if is_far else logging.INFO,
        "%s is strength %.3g (%s %.3g); in %d step%s the %s starts at strength %.3g (%s %.3g), the "
        "nearest that its scheduler has",
        what, strength, name, wanted, steps, "s" * (steps > 1), who,
        start.strength, name, start.level,
    )  # fmt: skip
    return start.level
