"""Names of Kubernetes objects, within their limits."""

from __future__ import annotations

import re

from actors.errors import SpecError

MOST_RAY_JOB = 47
"""Characters of a RayJob's name; KubeRay makes longer names of it for its cluster and pods."""

MOST_CRON_JOB = 52
"""Of a CronJob's: Kubernetes adds eleven characters to it for each Job, whose limit is 63."""

MOST_NAMESPACE = 63

_LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


def check_name(name: str, what: str, most: int = 253) -> str:
    """The name, if Kubernetes takes it. Raises SpecError."""
    pattern = _SUBDOMAIN if most == 253 else _LABEL
    if len(name) > most or not pattern.fullmatch(name):
        raise SpecError(
            f"{name!r} ({what}) is no name in Kubernetes: that is lower-case letters, digits and "
            f"dashes, at most {most}, and begins with a letter."
        )
    return name


def cron_name(job_name: str) -> str:
    """The name of the CronJob of a job, and of what it needs."""
    slug = re.sub(r"[^a-z0-9]+", "-", job_name.lower()).strip("-")
    return f"bottega-{slug}"[:MOST_CRON_JOB].rstrip("-") if slug else "bottega"


def labels_from(pairs: list[str], option: str) -> dict[str, str]:
    """`k=v` pairs as labels. Raises SpecError for what Kubernetes does not take."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (equals and _LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)):
            raise SpecError(
                f"{option} {pair!r}: give a label and its value, as "
                "cloud.google.com/gke-accelerator=nvidia-l4."
            )
        found[key] = value
    return found
