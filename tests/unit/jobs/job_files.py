"""A job.json without a run, for tests of those who read one."""

from __future__ import annotations

from typing import Any

from jobs.output.job_file import FORMAT
from jobs.spec.byte_fields import byte_fields, threads_of
from jobs.spec.job_spec import JobSpec


def job_file(spec: JobSpec, **fields: Any) -> dict[str, Any]:
    """The content of a job.json of 100 rows, with `fields` in place of its own."""
    student, teacher = spec.models.student, spec.models.teacher
    steps = fields.get("refinement", {}).get("steps", 15)
    roles = ("student", "oracle", "teacher")
    return {
        "format": FORMAT,
        "name": spec.name,
        "rows": 100,
        "threshold": "0.5",
        "calibration": {
            "scores": [], "refine": 0.0, "threshold": "0.5", "rows": 0, "seconds_per_row": {},
            "wall_seconds": 0.0,
        },
        "identity": {
            "spec": byte_fields(spec),
            "threads": threads_of(spec),
            "input_files": [{"name": "p.csv", "bytes": 1, "content": "0"}],
            "model_files": dict.fromkeys(roles, "files"),
        },
        "spec": spec.model_dump(mode="json"),
        "models": dict.fromkeys(roles, "a model"),
        "refinement": {
            "strategy": spec.strategy, "strength": 0.6, "steps": steps, "through": "latents",
        },
        "nfe": {
            "student": student.steps * student.evaluations_per_step * spec.draws,
            "teacher": steps * teacher.evaluations_per_step,
        },
        "versions": {},
        **fields,
    }  # fmt: skip
