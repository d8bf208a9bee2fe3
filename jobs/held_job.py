"""Compares a job file with the job that an output holds, before anybody has looked at models.

`jobs.identity` compares everything, when a driver begins. This is what whoever submits the job can
see beforehand.
"""

from __future__ import annotations

from actors.errors import InputError
from jobs.input.prompts import Prompts
from jobs.output.folder import OutputFolder
from jobs.output.growth import files_changed
from jobs.output.job_file import differences
from jobs.searched import as_begun, asked_otherwise
from jobs.spec.byte_fields import byte_fields
from jobs.spec.job_spec import JobSpec


def differing_fields(spec: JobSpec, output: str) -> list[str]:
    """The fields in which the job that the output holds is another one than this.

    A field that the job file leaves open was filled in by the driver, and counts as the same.
    """
    before = OutputFolder(output).read_job()
    if before is None:
        return []
    if spec.search is not None:
        if differs := asked_otherwise(spec, before):
            return differs
        spec = as_begun(spec, before)
    return [
        f"{path}: was {was!r}, is {now!r}"
        for path, was, now in differences(before["identity"]["spec"], byte_fields(spec))
        if now is not None
    ]


def input_differs(spec: JobSpec, output: str) -> str:
    """Why a finished job is not done with the input as it is now; empty if it is, or if the input
    cannot be seen from here."""
    before = OutputFolder(output).read_job()
    try:
        files = Prompts(spec).describe_files()
    except InputError:
        return ""
    if before is None or before["identity"]["input_files"] == files:
        return ""
    changed = files_changed(before["identity"]["input_files"], files)
    if changed is None:
        return "the job is done, and its input grew since. Add --extend, and it goes on with that."
    return f"the output holds a job with another input: {changed}. Choose another output."
