"""Claims a folder or a bucket for one dataset, so that nothing of others is written over."""

from __future__ import annotations

from actors.errors import OutputError
from jobs.output.folder import JOB
from jobs.storage.storage import Storage

IS_AN_OUTPUT = f"has a {JOB}, so it is the output of a job. Choose another place."


def claim(target: Storage, marker: str, content: bytes, another: str) -> None:
    """Put the marker there, before anything else; or raise OutputError for what is not ours.

    marker: a file's name, and `content` what it says of us. another: what a target with another
    content of it holds, for people. Ours are an empty target, and one with this very marker.
    """
    if target.find(JOB):
        raise OutputError(f"{target.url!r} {IS_AN_OUTPUT}")
    if target.find(marker) is None and target.entries(most=1):
        raise OutputError(f"{target.url!r} {not_ours(marker)}")
    target.create()
    if not target.put_new(marker, content):
        raise OutputError(f"{target.url!r} holds {another}. Choose a new place.")


def not_ours(marker: str) -> str:
    """What is said of a place that holds something, and not our marker."""
    return f"is not empty and has no {marker}, so it is not ours to write to. Choose a new place."
