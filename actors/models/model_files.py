"""The files of a job's three models: found, checked and hashed once, before anything starts.

Everything that a job has to know of them is in the value that `open_model_files` returns; only an
actor opens the same files again, to load them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from actors.models.file_reader import FileReader
from actors.models.oracles.oracle_files import open_oracle_files
from actors.models.pairing import check_roles, fitted, why_pixels
from actors.models.pipeline_files import PipelineFiles, open_pipeline_files
from actors.refinement import Through
from actors.settings import ModelSettings, StudentSettings, TeacherSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """Everything that a job knows of its models by their files.

    `settings`: with paths and revisions that mean the same in every process, and completed from the
    files. `fingerprints`: role -> hash of all the model's files. `why_pixels`: why
    pictures are handed over, and not the student's latents; None where latents are.
    """

    settings: ModelSettings
    student: PipelineFiles[StudentSettings]
    teacher: PipelineFiles[TeacherSettings]
    fingerprints: dict[str, str]
    why_pixels: str | None
    weight_bytes: int = 0
    """Of the larger one of student and teacher."""

    @property
    def through(self) -> Through:
        """The form in which the teacher gets the student's picture."""
        return "pixels" if self.why_pixels else "latents"

    @property
    def instructed(self) -> bool:
        """Whether the models edit a picture by an instruction."""
        return self.teacher.family.instructed


def open_model_files(models: ModelSettings, made: Collection[str], task: str) -> ModelFiles:
    """Open each file of the models once. Raises ModelError or SpecError if they cannot do the job.

    made: what the job's attempts do: draw, refine, regenerate.
    Quick checks come first: models of gigabytes are hashed only when everything else fits.
    """
    reader = FileReader()
    student = open_pipeline_files(models.student, reader)
    teacher = open_pipeline_files(models.teacher, reader)
    oracle = open_oracle_files(models.oracle, reader)
    from actors.models.network_checks import check_networks, check_oracle  # imports torch

    for pipeline in (student, teacher):
        check_networks(pipeline)
    check_oracle(oracle)
    for make in sorted(made):
        check_roles(student, teacher, make, task)
    return ModelFiles(
        settings=ModelSettings(
            student=fitted(student), oracle=oracle.settings, teacher=fitted(teacher)
        ),
        student=student,
        teacher=teacher,
        fingerprints={
            "student": student.fingerprint(reader),
            "oracle": oracle.fingerprint(reader),
            "teacher": teacher.fingerprint(reader),
        },
        why_pixels=why_pixels(student, teacher, reader),
        weight_bytes=max(student.weight_bytes(reader), teacher.weight_bytes(reader)),
    )
