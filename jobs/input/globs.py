"""Globs over names of objects, as Python's `glob` means them over files: pure."""

from __future__ import annotations

import re
from glob import has_magic


def fixed_part(url: str) -> tuple[str, str]:
    """The steps of a URL before its first glob, and the rest of it, which may be empty."""
    scheme, _, rest = url.partition("://")
    steps = rest.rstrip("/").split("/")
    magic = next((n for n, step in enumerate(steps) if n and has_magic(step)), len(steps))
    return f"{scheme}://{'/'.join(steps[:magic])}", "/".join(steps[magic:])


def matches(pattern: str, name: str) -> bool:
    """Whether a name relative to the fixed part fits: `*` stays in one step, `**` is any steps.

    A step that begins with a dot is hidden from `*` and `**`.
    """
    if any(step.startswith(".") for step in name.split("/")) and "/." not in f"/{pattern}":
        return False
    return re.fullmatch(_as_regex(pattern), name) is not None


def may_lead_to(pattern: str, name: str) -> bool:
    """Whether a name fits, or one below it would if it were a folder."""
    steps = pattern.split("/")
    return any(matches("/".join(steps[:number]), name) for number in range(1, len(steps) + 1))


def _as_regex(pattern: str) -> str:
    steps = pattern.split("/")
    found = ""
    for number, step in enumerate(steps):
        is_last = number == len(steps) - 1
        if step == "**":
            found += ".*" if is_last else "(?:.*/)?"
        else:
            found += _step_as_regex(step) + ("" if is_last else "/")
    return found


def _step_as_regex(step: str) -> str:
    parts = re.findall(r"\[!?\]?[^\]]*\]|\*+|\?|.", step)
    return "".join(map(_part_as_regex, parts))


def _part_as_regex(part: str) -> str:
    if part.startswith("*"):
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if len(part) > 1 and part.startswith("["):
        inside = part[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(part)
