"""A job, resolved: every choice made, every model folder looked at, nothing started yet."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from actors.errors import SpecError
from actors.models.folders import check_folder, fingerprint, same_autoencoder
from actors.rollback import default_steps, strength_for_variance
from actors.teacher import Refinement, Through
from jobs.cascade import Rules
from jobs.parts import OutputFolder, check_names
from jobs.prompts import Prompts
from jobs.spec import NOT_IN_THE_BYTES, JobSpec, Rollback

DEFAULT_ROLLBACK = Rollback(strength=0.6)


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
    def student_nfe(self) -> int:
        """Network evaluations of one drawing."""
        student = self.spec.models.student
        return student.steps * student.evaluations_per_step

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
            max_attempts=spec.max_attempts,
        )

    def identity(self) -> dict[str, Any]:
        """Everything that the output's bytes depend on. A resumed run must have the same.

        Model files count by their content, so that the same models at another path are the same.
        """
        spec = self.spec.model_dump(mode="json", exclude=set(NOT_IN_THE_BYTES))
        for model in spec["models"].values():
            del model["path"], model["revision"]
        pools = self.spec.pools
        return {
            "spec": spec,
            # Measured: a 1x1 convolution of oneDNN gives other last bits with other threads.
            "threads": {name: pool.threads_per_actor for name, pool in pools},
            "input_files": self.prompts.describe_files(),
            "model_files": self.model_files,
        }

    def about(self) -> dict[str, Any]:
        """For people, in job.json: the whole spec and the versions it ran with."""
        packages = ("bottega", "ray", "torch", "diffusers", "transformers", "pyarrow")
        return {
            "name": self.spec.name,
            "models": {
                role: settings["path"]
                for role, settings in self.spec.models.model_dump(mode="json").items()
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


def resolve(spec: JobSpec) -> Job:
    """Look at the input, the models and the output's name. Raises a UserError for what is wrong."""
    prompts = Prompts(spec)
    check_names(prompts.schema.names, spec.seed_column, spec.save_student)
    models = spec.models
    student, teacher = check_folder(models.student), check_folder(models.teacher)
    files = {
        "student": fingerprint(student),
        "oracle": fingerprint(check_folder(models.oracle)),
        "teacher": fingerprint(teacher),
    }
    through: Through = "latents" if same_autoencoder(student, teacher) else "pixels"
    strength = _strength(spec)
    steps = spec.teacher_steps or default_steps(strength, models.teacher.steps)
    refinement = Refinement(spec.strategy, strength, steps, through)
    job = Job(spec, prompts, OutputFolder(spec.output), refinement, files)
    _check_budget(job)
    return job


def _strength(spec: JobSpec) -> float:
    if spec.strategy == "regenerate":
        return 1.0
    rollback = spec.rollback or DEFAULT_ROLLBACK
    if rollback.strength is not None:
        return rollback.strength
    assert rollback.variance is not None
    from actors.models.diffusion import schedule_variances

    return strength_for_variance(rollback.variance, schedule_variances(spec.models.teacher))


def _check_budget(job: Job) -> None:
    nfe = job.spec.budget.nfe
    if nfe is not None and nfe < job.student_nfe:
        raise SpecError(
            f"budget.nfe: {nfe:g} is less than the student alone takes ({job.student_nfe} network "
            "evaluations a picture). Raise it, or lower models.student.steps."
        )
