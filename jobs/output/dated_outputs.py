"""Looks at the outputs of a job for other dates, and deletes old ones.

What is deleted is an output that this job wrote, as a whole: it has a `job.json` of this job's
name, every file in it has a name that Bottega gives, every part is as its record says, and no link
is on the way. An output with anything else in it stays, with the reason. `job.json` goes last, so
that a deletion which was interrupted goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from actors.errors import OutputError, SpecError
from jobs.job_id import absolute
from jobs.output.folder import JOB, SUCCESS, OutputFolder
from jobs.output.retention import DatedOutput, DatedPlaces, Verdict, decide
from jobs.output.status_file import read_state
from jobs.spec.job_spec import JobSpec
from jobs.storage.storage import Storage
from jobs.storage.storage_at import storage_at
from jobs.storage.urls import is_url

OURS = re.compile(
    r"job\.json|status\.json|timeline\.jsonl|(decisions|calibration)\.json|README\.md|report\.html|sheet\.png"
    r"|_SUCCESS|\.drivers/[^/]+|data/(\d{5}/)?part-\d{8}\.parquet"
    r"|records/(\d{5}/)?(part-\d{8}|index)\.json"
)
"""The names of an output's files (docs/output.md)."""


def retire(spec: JobSpec, *, delete: bool, current: str = "") -> Iterator[Verdict]:
    """Decide about the outputs of a job for all dates, and delete what goes if `delete` says so.

    current: an output that stays in any case. Raises SpecError for a job without retention,
    StorageError where a storage fails; what was deleted until then is.
    """
    retention = spec.after.retention
    if retention is None or retention.of is None:
        raise SpecError(
            "the job file names no retention. Add it, as `after: {retention: {keep: 14}}`, and "
            "{date} in `output`."
        )
    places = DatedPlaces.of(absolute(retention.of))
    # The user may name a folder by a link; below it none is followed.
    parent = storage_at(_without_links(places.parent))
    current = _without_links(current)
    outputs = []
    for folder in parent.folders():
        if (place := places.place(folder)) is not None:
            date, url = place[0], f"{parent.url.rstrip('/')}/{place[1]}"
            # The run that asks is at its own output still, which is complete.
            is_its = url == current
            found = DatedOutput(url, date, True) if is_its else look(url, date, spec)
            outputs += [found] if found else []
    for verdict in decide(outputs, retention.keep, current):
        if not (verdict.goes and delete):
            yield verdict
            continue
        # It is looked at once more: somebody may have put something there meanwhile.
        output = look(verdict.output.url, verdict.output.date, spec)
        if output is None or output.kept_because:
            reason = output.kept_because if output else "it is gone"
            yield replace(verdict, goes=False, reason=reason)
            continue
        _delete(storage_at(output.url), output.files)
        yield replace(verdict, done=True)


def _without_links(place: str) -> str:
    return place.rstrip("/") if is_url(place) or not place else str(Path(place).resolve())


def look(url: str, date: str, spec: JobSpec) -> DatedOutput | None:
    """An output for a date, and whether it may be deleted; None where there is nothing.

    spec: of the job that has to have written it. Raises StorageError.
    """
    storage = storage_at(url)
    if links := storage.links():
        return DatedOutput(url, date, kept_because=f"{links[0]} is a link")
    entries = storage.entries()
    if not entries:
        return None
    files = tuple(entry.path for entry in entries)
    sizes = {entry.path: entry.size for entry in entries}
    found = DatedOutput(url, date, SUCCESS in sizes, "", files, sum(sizes.values()))
    try:
        return replace(found, kept_because=_not_ours(OutputFolder(storage), sizes, spec))
    except OutputError as error:
        return replace(found, kept_because=str(error).splitlines()[0])


def _not_ours(folder: OutputFolder, sizes: dict[str, int], spec: JobSpec) -> str:
    job = folder.read_job()
    if job is None:
        return f"it has no {JOB}, so it is no output of ours"
    if job["name"] != spec.name:
        return f"it is of another job, {job['name']!r}"
    if job["spec"]["limit"] != spec.limit:
        return "it is a pilot" if job["spec"]["limit"] else "it is of the whole job"
    if strange := sorted(path for path in sizes if not OURS.fullmatch(path)):
        return f"{strange[0]} in it is not ours"
    state = read_state(folder.storage)
    if state is not None and state.state.is_active:
        return f"a driver is at it: it is {state.state}"
    records = folder.records()
    written = {folder.record_name(index) for index in records}
    there = {path for path in sizes if re.search(r"^records/.*part-\d{8}\.json$", path)}
    if wrong := sorted(there - written):
        return f"{wrong[0]} does not count: look what happened to its part"
    return ""


def _delete(storage: Storage, files: tuple[str, ...]) -> None:
    """`_SUCCESS` goes first, so that nobody takes half of it for a dataset; then records, so that
    no record is without its part; and `job.json` last."""
    order = {SUCCESS: 0, JOB: 3}
    storage.erase(
        sorted(files, key=lambda name: order.get(name, 1 if name.startswith("records/") else 2))
    )
