"""By what a job is compared with the one that its output folder holds, and what job.json gets."""

from __future__ import annotations

import logging
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actors.errors import OutputError
from actors.redact import redacted
from actors.settings import PLACES
from jobs.input.discovery import check_apart
from jobs.output.growth import Files, files_changed, rows_changed
from jobs.resolve import Job
from jobs.spec.job_spec import NOT_IN_THE_BYTES

log = logging.getLogger("bottega.job")


def identity_of(job: Job) -> dict[str, Any]:
    """Everything that the output's bytes depend on. A resumed run must have the same.

    Model files count by their content, so that the same models at another path are the same.
    Of pictures that the input names by their paths, only the paths count.
    """
    spec = job.spec.model_dump(mode="json", exclude=set(NOT_IN_THE_BYTES))
    _take_places_out(spec["models"])
    pools = job.spec.pools
    identity = {
        "spec": spec,
        # Measured: a 1x1 convolution of oneDNN gives other last bits with other threads.
        "threads": {name: pool.threads_per_actor for name, pool in pools.by_name.items()},
        "input_files": job.prompts.describe_files(),
        "model_files": job.model_files,
    }
    # As job.json has it, so that what is compared is alike.
    return dict(redacted(identity))


def _written_spec(job: Job) -> dict[str, Any]:
    """The whole spec, for a retry; perhaps from another working folder."""
    spec = job.spec.model_dump(mode="json")
    spec["input"] = str(Path(job.spec.input).expanduser().absolute())
    return dict(redacted(spec))


def is_outdated(before: dict[str, Any], job: Job) -> bool:
    """Whether job.json says less or other than this job: its input grew, or was moved."""
    return bool(before["identity"] != identity_of(job) or before["spec"] != _written_spec(job))


def write_job(job: Job, calibration: dict[str, Any], replace: bool = False) -> None:
    """Fix the threshold in job.json, before the first part starts.

    Without `replace` a job.json that another driver wrote meanwhile stays.
    """
    job.output.write_job(
        {
            "identity": identity_of(job),
            "spec": _written_spec(job),
            "rows": job.prompts.num_rows,
            "threshold": calibration["threshold"],
            "calibration": calibration,
            **_about(job),
        },
        replace,
    )


def claim(job: Job) -> None:
    """Refuse an output that is not ours, or that the input reads; touches nothing."""
    check_apart(job.spec.input, job.output.path)
    job.output.claim()


def continues(job: Job, extend: bool = False) -> dict[str, Any] | None:
    """The job.json that is in the output folder already; None for a new job.

    With `extend` the input may have grown since. Raises OutputError, with what differs, if it
    is another job's.
    """
    before = job.output.read_job()
    if before is None:
        return None
    identity = identity_of(job)
    old_files, files = before["identity"]["input_files"], identity["input_files"]
    grown = old_files != files and files_changed(old_files, files) is None
    if extend:
        identity["input_files"] = old_files
    changed = _differences(before["identity"], identity)
    if changed:
        hint = "\nIf the input only grew, add --extend." if grown else ""
        raise OutputError(
            f"output {str(job.output.path)!r} holds another job. What differs:\n"
            + "\n".join(f"  {line}" for line in changed)
            + "\nChoose a new output folder, or put the job back as it was."
            + hint
        )
    if extend and old_files != files:
        _check_grown(job, before, files)
    for line in _differences(before["versions"], _about(job)["versions"]):
        log.warning("continuing with another version, which may change bytes: %s", line)
    return before


def _check_grown(job: Job, before: dict[str, Any], files: Files) -> None:
    changed = files_changed(before["identity"]["input_files"], files) or rows_changed(
        job.output, job.prompts, before["rows"]
    )
    if changed:
        raise OutputError(
            f"the input {job.spec.input!r} did more than grow: {changed}. --extend goes on "
            "where rows were added at the end of the last file, or files after it. Put the "
            "rows back as they were, or choose a new output folder."
        )


def _about(job: Job) -> dict[str, Any]:
    """For people, in job.json: how it was resolved, and the versions it ran with."""
    packages = (
        *("bottega", "ray", "torch", "diffusers", "transformers", "pyarrow"),
        *("numpy", "pillow", "opencv-python-headless"),
    )
    return {
        "name": job.spec.name,
        "models": {
            role: "timed" if settings.timed else settings.path or settings.kind
            for role, settings in job.spec.models
        },
        "refinement": {
            "strategy": job.refinement.strategy,
            "strength": job.refinement.strength,
            "steps": job.refinement.steps,
            "through": job.refinement.through,
        },
        "nfe": {"student": job.student_nfe, "teacher": job.teacher_nfe},
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
