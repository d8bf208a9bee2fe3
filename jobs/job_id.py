"""The id of a job: the same job has the same id, whoever submits it, and however often.

    bottega-<name>-<10 hex of the job's identity>[-<for>]

It is Ray's submission id and a RayJob's `jobId`, so it is a DNS label of at most 47 characters. A
second attempt at the same job is `<id>.2`. Pure: no file is read, so the content of the input and
of the models is not in it; the output's job.json has those (`jobs.identity`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from actors.errors import SpecError
from actors.redact import redacted
from jobs.spec.job_spec import NOT_IN_THE_BYTES, JobSpec

PREFIX = "bottega"

MOST_ID = 47
"""Characters of an id: Kubernetes allows a RayJob's name no more."""

MOST_FOR = 16
"""Characters of `--for`: a date with hours and minutes. The name keeps eleven then."""

HEX = 10
"""Digits of the identity: 40 bits, so that among a million jobs two are alike once in two times."""

_FIELDS = ("input", "output")
"""The fields of a job file in which `{for}` and `{date}` stand for something; `after.publish.to` is
one more."""

_FOR = re.compile(r"[a-z0-9]([a-z0-9:-]*[a-z0-9])?", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ATTEMPT = re.compile(r"(?P<id>.+)\.(?P<attempt>[1-9]\d*)")


def job_id(spec: JobSpec, run_for: str = "") -> str:
    """The id of a job. `run_for`: what this run of a repeated job is for, as a date.

    Every field counts that changes a byte, and `input` and `output` as they are written; a relative
    output is made absolute, since another folder is another job. Raises SpecError for a `run_for`
    that is no part of an id.
    """
    fields = spec.model_dump(mode="json", exclude=set(NOT_IN_THE_BYTES))
    identity = {**fields, "input": spec.input, "output": absolute(spec.output)}
    # Redacted as job.json is: the id of a job does not change with its secrets.
    content = json.dumps(redacted(identity), sort_keys=True)
    ending = sha256(content.encode()).hexdigest()[:HEX]
    if run_for:
        ending += f"-{_label(run_for)}"
    room = MOST_ID - len(f"{PREFIX}--{ending}")
    name = _slug(spec.name)[:room].strip("-")
    return "-".join(part for part in (PREFIX, name, ending) if part)


def attempt_id(job: str, attempt: int) -> str:
    """The submission id of an attempt at a job; the first one has the job's own."""
    return job if attempt == 1 else f"{job}.{attempt}"


def split_attempt(submission_id: str) -> tuple[str, int]:
    """The job's id and the number of the attempt in a submission id."""
    found = _ATTEMPT.fullmatch(submission_id)
    return (found["id"], int(found["attempt"])) if found else (submission_id, 1)


def fill_in(fields: Mapping[str, Any], run_for: str = "") -> dict[str, Any]:
    """The fields of a job file with `{for}` and `{date}` of its places filled in.

    Retention gets the outputs as they were written. Raises SpecError where one of them stands and
    `run_for` does not say what it is.
    """
    filled = dict(fields)
    for name in _FIELDS:
        if isinstance(filled.get(name), str):
            filled[name] = _filled(filled[name], name, run_for)
    if isinstance(filled.get("after"), Mapping):
        filled["after"] = _after(filled["after"], fields.get("output"), run_for)
    return filled


def _after(after: Mapping[str, Any], output: Any, run_for: str) -> dict[str, Any]:
    filled = dict(after)
    publish, retention = filled.get("publish"), filled.get("retention")
    if isinstance(publish, Mapping) and isinstance(publish.get("to"), str):
        filled["publish"] = {**publish, "to": _filled(publish["to"], "after.publish.to", run_for)}
    if isinstance(retention, Mapping):
        of = retention.get("of") or output
        if isinstance(of, str) and not ("{date}" in of or "{for}" in of):
            raise SpecError(
                f"after.retention: it is for dated outputs, and {of!r} has no {{date}}. Write it "
                "in `output`, or leave retention out."
            )
        filled["retention"] = {**retention, "of": of}
    return filled


def _filled(text: str, name: str, run_for: str) -> str:
    if "{for}" in text:
        if not run_for:
            raise SpecError(f"{name}: {{for}} in {text!r} stands for --for, which is missing.")
        text = text.replace("{for}", _label(run_for))
    if "{date}" in text:
        found = _DATE.match(run_for)
        if found is None:
            given = f"--for {run_for!r} has none" if run_for else "--for is missing"
            raise SpecError(
                f"{name}: {{date}} in {text!r} stands for the date in --for, and {given}. "
                "Give it as --for 2026-11-23."
            )
        _check_date(found[0])
        text = text.replace("{date}", found[0])
    return text


def absolute(place: str) -> str:
    """An output's folder as an absolute path, or its URL, without a slash at the end."""
    if "://" in place:
        return place.rstrip("/")
    return str(Path(place).expanduser().absolute())


def _label(run_for: str) -> str:
    """`--for` as a part of an id and of a path; a time's colons become dashes."""
    if not _FOR.fullmatch(run_for) or len(run_for) > MOST_FOR:
        raise SpecError(
            f"--for {run_for!r}: it goes into the job's id, so it has 1 to {MOST_FOR} letters, "
            "digits and dashes between them, as in 2026-11-23."
        )
    if found := _DATE.match(run_for):
        _check_date(found[0])
    return run_for.lower().replace(":", "-")


def _check_date(text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise SpecError(f"--for {text}: there is no such date ({error}).") from error


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
