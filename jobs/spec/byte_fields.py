"""The fields of a job on which the dataset's bytes depend."""

from __future__ import annotations

from typing import Any

from actors.settings import PLACES
from jobs.spec.job_spec import NOT_IN_THE_BYTES, JobSpec


def byte_fields(spec: JobSpec) -> dict[str, Any]:
    """The fields of a spec on which a byte of its dataset depends, as JSON has them.

    Model files count by their content, so the fields that say where they are do not.
    """
    fields = spec.model_dump(mode="json", exclude=set(NOT_IN_THE_BYTES))
    fields["models"] = without_places(fields["models"])
    return fields


def threads_of(spec: JobSpec) -> dict[str, int]:
    """Threads of an actor, by pool.

    Measured: the last bits of oneDNN's 1x1 convolution depend on the number of threads.
    """
    return {name: pool.threads_per_actor for name, pool in spec.pools.by_name.items()}


def without_places(fields: Any) -> Any:
    """Models' fields without the places of files, at any depth: files count by content."""
    if isinstance(fields, dict):
        return {
            name: value if name == "options" else without_places(value)
            for name, value in fields.items()
            if name not in PLACES
        }
    return [without_places(one) for one in fields] if isinstance(fields, list) else fields
