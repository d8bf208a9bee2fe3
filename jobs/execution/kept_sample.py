"""The scores of `bottega calibrate`, kept in the output for the `bottega run` that follows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from math import isfinite

from actors.errors import MissingError
from jobs.identity import identity_of
from jobs.output.failing import failing_in
from jobs.output.folder import SAMPLE
from jobs.resolution import Job

NOT_IN_THE_SCORES = ("budget", "keep", "ladder", "save_student")
"""Fields of a job that may change between the two: no score of the student follows from them."""


def keep_sample(job: Job, scores: Sequence[float]) -> None:
    """Write the scores. Raises OutputError for a place that is not ours."""
    job.output.claim()
    with failing_in(job.output.storage):
        job.output.storage.create()
    page = {"key": _key(job), "scores": list(scores)}
    job.output.put(SAMPLE, json.dumps(page).encode() + b"\n")


def kept_sample(job: Job) -> tuple[float, ...] | None:
    """The scores that were kept for this very job; None if there are none, or another job's."""
    with failing_in(job.output.storage):
        try:
            content = job.output.storage.get(SAMPLE)
        except MissingError:
            return None
    try:
        page = json.loads(content)
        scores = tuple(float(score) for score in page["scores"])
        known = page["key"] == _key(job)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    most = job.sample_size
    good = 0 < len(scores) <= most and all(map(isfinite, scores)) and list(scores) == sorted(scores)
    return scores if known and good else None


def _key(job: Job) -> str:
    """A hash of everything that the scores depend on."""
    identity = identity_of(job)
    identity["spec"] = {k: v for k, v in identity["spec"].items() if k not in NOT_IN_THE_SCORES}
    # Extra scores decide nothing, and the hash of their files stands behind a "+".
    oracle = identity["spec"]["models"]["oracle"]
    for extras in ("extra_scores", "filters"):
        oracle.pop(extras, None)
    identity["model_files"] = dict(identity["model_files"])
    identity["model_files"]["oracle"] = identity["model_files"]["oracle"].partition("+")[0]
    # A ladder without a teacher has no reason to resize the student's pictures.
    identity["size"] = job.draw_plan.size
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
