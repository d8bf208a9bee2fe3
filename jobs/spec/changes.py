"""Changes to the fields of a job file from the command line: `--set budget.nfe=8`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.errors import SpecError
from jobs.spec.strict_yaml import read_value


def with_changes(fields: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The fields with each `path=value` in place of what was there. The value is YAML.

    A path goes into mappings by its dots. `models`, where it is the name of a preset, becomes that
    preset with a change. Raises SpecError for a change that is no path and value.
    """
    changed = dict(fields)
    for change in changes:
        path, equals, text = change.partition("=")
        steps = path.strip().split(".")
        if not equals or not all(steps):
            raise SpecError(
                f"--set {change!r}: give a field and its value, as --set seed=3 or --set "
                "models.teacher.steps=30."
            )
        _put(changed, steps, read_value(text, f"--set {path.strip()}"), change)
    return changed


def _put(fields: dict[str, Any], steps: list[str], value: Any, change: str) -> None:
    name, *below = steps
    if not below:
        fields[name] = value
        return
    there = fields.get(name, {})
    if name == "models" and isinstance(there, str):
        there = {"preset": there}
    if not isinstance(there, Mapping):
        raise SpecError(f"--set {change!r}: {name!r} is {there!r}, which has no fields.")
    fields[name] = dict(there)
    _put(fields[name], below, value, change)
