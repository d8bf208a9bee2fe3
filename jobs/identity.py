"""Compares a job with the one that its output folder holds, and writes job.json."""

from __future__ import annotations

import logging
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actors.errors import OutputError, SpecError
from actors.redact import redacted
from actors.refinement import Refinement
from jobs.input.discovery import check_apart
from jobs.output.folder import JOB
from jobs.output.growth import Files, files_changed, num_same_files, rows_changed
from jobs.output.job_file import (
    FIRST_FORMAT_WITHOUT_SAMPLE,
    FOLLOWS,
    FORMAT_1_SAMPLE,
    contradictions,
    dataset_id,
    differences,
    refinements_in,
)
from jobs.resolution import Job
from jobs.spec.byte_fields import byte_fields, threads_of
from jobs.storage.urls import is_url

log = logging.getLogger("bottega.job")


def identity_of(job: Job) -> dict[str, Any]:
    """Everything that the output's bytes depend on. A resumed run must have the same.

    Model files count by their content, so a job may find the same models at another path. Pictures
    that the input names by their paths count by their paths alone.
    """
    identity = {
        "spec": byte_fields(job.spec),
        "threads": threads_of(job.spec),
        "input_files": job.prompts.describe_files(),
        "model_files": job.model_files,
    }
    # Redacted as job.json is, so that the two compare equal.
    return dict(redacted(identity))


def _written_spec(job: Job) -> dict[str, Any]:
    """The spec, with the input's absolute path: a retry may run in another folder. What follows
    the dataset is left out: no dataset names commands, and who reads it need not know of them."""
    spec = job.spec.model_dump(mode="json", exclude={FOLLOWS})
    if not is_url(job.spec.input):
        spec["input"] = str(Path(job.spec.input).expanduser().absolute())
    return dict(redacted(spec))


def is_outdated(before: dict[str, Any], job: Job) -> bool:
    """Whether the job.json `before` differs from this job, whose input grew or moved."""
    about = dict(redacted(_about(job)))
    now = {"identity": identity_of(job), "spec": _written_spec(job)}
    now |= {name: about[name] for name in ("name", "models")}
    return any(before[name] != value for name, value in now.items())


def write_job(
    job: Job,
    calibration: dict[str, Any],
    replace: bool = False,
    known: dict[str, Any] | None = None,
    *,
    search: dict[str, Any] | None = None,
) -> None:
    """Write job.json with the threshold, which is fixed before the first part starts.

    Without `replace` a job.json that another driver wrote meanwhile stays. known: the job.json of
    the same dataset, before its input grew. search: what its search for a ladder found, where it
    made one (`jobs.searched`).
    """
    identity = identity_of(job)
    search = search or (known or {}).get("search")
    job.output.write_job(
        {
            "format": max(job.output.format, FIRST_FORMAT_WITHOUT_SAMPLE),
            "identity": identity,
            "dataset_id": dataset_id(known or {"identity": identity}),
            "spec": _written_spec(job),
            "rows": job.prompts.num_rows,
            "threshold": calibration["threshold"],
            "calibration": calibration,
            **({"search": search} if search else {}),
            **_about(job),
        },
        replace,
    )


def claim(job: Job) -> None:
    """Refuse an output folder that is not ours or lies inside the input; touches nothing."""
    check_apart(job.spec.input, job.output.url)
    job.output.claim()


def continues(job: Job, extend: bool = False) -> dict[str, Any] | None:
    """The job.json that this job continues; None for a new job.

    With `extend` the input may have grown since. Raises OutputError with the differences if the
    output folder holds another job.
    """
    before = job.output.read_job()
    if before is None:
        return None
    if extend and job.spec.limit is not None:
        raise SpecError(
            "limit and --extend: a pilot has rows of the whole input, and others once that grew. "
            "Leave one out."
        )
    identity = identity_of(job)
    old_files, files = before["identity"]["input_files"], identity["input_files"]
    grown = old_files != files and files_changed(old_files, files) is None
    if extend:
        identity["input_files"] = old_files
    if _had_the_default_sample(before) and job.spec.calibration_rows is None:
        identity["spec"]["calibration_rows"] = FORMAT_1_SAMPLE
    # Nobody chooses the refinement: where it differs, another version chose it by other rules.
    # A version before these fields did not write what only the models' files say.
    older = refinements_in(before)
    found = [
        {name: one[name] for name in one if name in was or name not in _as_resolved(refinement)}
        for was, one, refinement in zip(older, _described(job), job.refinements, strict=False)
    ]
    chosen = (
        {f"refinement{n or ''}": one for n, one in enumerate(refined)} for refined in (older, found)
    )
    changed = _differences(before["identity"], identity) + _differences(*chosen)
    if changed:
        hint = "\nIf the input only grew, add --extend." if grown else ""
        raise OutputError(
            f"output {job.output.url!r} holds another job. What differs:\n"
            + "\n".join(f"  {line}" for line in changed)
            + "\nChoose a new output folder, or put the job back as it was."
            + hint
        )
    _check_derived(job, before, same_input=old_files == files)
    if extend and old_files != files:
        _check_grown(job, before, files)
    for line in _differences(before["versions"], _about(job)["versions"]):
        log.warning("continuing with another version, which may change bytes: %s", line)
    return before


def _had_the_default_sample(before: dict[str, Any]) -> bool:
    """Whether a job.json is of the format that wrote a number where the job file said none."""
    written: int = before.get("format", 1)
    rows: int | None = before["identity"]["spec"]["calibration_rows"]
    return written == 1 and rows == FORMAT_1_SAMPLE


def _check_derived(job: Job, before: dict[str, Any], same_input: bool) -> None:
    """Refuse a job.json that says other than what follows from the rest of it."""
    wrong = list(contradictions(before))
    if same_input and before["rows"] != job.prompts.num_rows:
        wrong.append(f"rows is {before['rows']:,}, and its input has {job.prompts.num_rows:,}")
    if wrong:
        raise OutputError(
            f"{job.output.storage.name_of(JOB)} contradicts itself:\n"
            + "\n".join(f"  {line}" for line in wrong)
            + "\nRestore it from a copy, or put back what follows from its other fields; `bottega "
            "verify` names the parts that were made by another rule. Or choose a new output folder."
        )


def _check_grown(job: Job, before: dict[str, Any], files: Files) -> None:
    old_files = before["identity"]["input_files"]
    changed = files_changed(old_files, files) or rows_changed(
        job.output, job.prompts, before["rows"], num_same_files(old_files, files)
    )
    if changed:
        raise OutputError(
            f"the input {job.spec.input!r} did more than grow: {changed}. --extend goes on "
            "where rows were added at the end of the last file, or files after it. Put the "
            "rows back as they were, or choose a new output folder."
        )


def _about(job: Job) -> dict[str, Any]:
    """Fields of job.json for people: how the job was resolved, and the versions it ran with."""
    packages = (
        *("bottega", "ray", "torch", "diffusers", "transformers", "pyarrow"),
        *("numpy", "pillow", "opencv-python-headless"),
    )
    described = _described(job)
    return {
        "name": job.spec.name,
        "models": {
            role: "timed" if settings.timed else settings.path or settings.kind
            for role, settings in job.spec.models
        },
        "refinement": described[0] if described else None,
        **({"refinements": described} if job.spec.ladder else {}),
        "nfe": {"student": job.student_nfe, "teacher": job.teacher_nfe},
        "versions": {name: version(name) for name in packages}
        | {"python": platform.python_version()},
    }


def _described(job: Job) -> list[dict[str, Any]]:
    """The teacher's tasks, in order."""
    return [
        {
            "strategy": one.strategy,
            "strength": one.strength,
            "steps": one.steps,
            "through": one.through,
            **_as_resolved(one),
        }
        for one in job.refinements
    ]


def _as_resolved(refinement: Refinement) -> dict[str, Any]:
    """What only models' files say: the noise a refinement starts at, and the pictures' one size."""
    start, size = refinement.start, refinement.size
    # 4 digits: the last bits of a sum differ between versions of torch.
    found = {"start": start and round(start, 4), "size": size and list(size)}
    return {name: value for name, value in found.items() if value is not None}


def _differences(before: Any, now: Any) -> list[str]:
    return [
        f"{path.removeprefix('spec.')}: was {was!r}, is {is_now!r}"
        for path, was, is_now in differences(before, now)
    ]
