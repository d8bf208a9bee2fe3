"""The files of an output that lies in a folder of this machine."""

from __future__ import annotations

from pathlib import Path

from jobs.output.folder import OutputFolder


def part_file(output: OutputFolder, index: int) -> Path:
    """The file of a part's rows."""
    return output.path / output.part_name(index)


def record_file(output: OutputFolder, index: int) -> Path:
    """The file of a part's record."""
    return output.path / output.record_name(index)


def job_file(output: OutputFolder) -> Path:
    """The file of the resolved job."""
    return output.path / "job.json"
