"""The files of this machine that a folder or a glob leads to: each real file once.

Links are followed, by folders and globs alike, but none that leads back to a folder above it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from glob import has_magic
from pathlib import Path

from jobs.input.formats import natural
from jobs.input.globs import matches


def files_below(folder: Path, depth: int | None = None) -> list[str]:
    """The names of all files below a folder, relative to it, in natural order; down to `depth`
    steps. Raises OSError."""
    return sorted(_walk(folder, "", (os.path.realpath(folder),), depth), key=natural)


def _walk(folder: Path, prefix: str, above: tuple[str, ...], depth: int | None) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir():
            real = os.path.realpath(entry.path)
            if real not in above and (depth is None or depth > 1):
                below = None if depth is None else depth - 1
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", (*above, real), below)
        elif entry.is_file():
            yield f"{prefix}{entry.name}"


def split_glob(pattern: str) -> tuple[Path, str]:
    """The folder before the first glob, and the rest. A step that is there as it is written is no
    glob, so `run[1]/*.txt` may be meant as it stands."""
    steps = Path(pattern).expanduser().absolute().parts
    folder = Path(steps[0])
    for number, step in enumerate(steps[1:], 1):
        if has_magic(step) and not (folder / step).exists():
            return folder, "/".join(steps[number:])
        folder /= step
    return folder, ""


def files_of_glob(folder: Path, pattern: str) -> list[str]:
    """The files below a folder whose names fit, relative to it, in natural order."""
    steps = pattern.split("/")
    depth = None if "**" in steps else len(steps)
    return [name for name in files_below(folder, depth) if matches(pattern, name)]


def each_once(folder: Path, names: list[str]) -> list[str]:
    """Without the names that lead to a file that an earlier one leads to."""
    seen: set[str] = set()
    kept = []
    for name in names:
        real = os.path.realpath(folder / name)
        if real not in seen:
            seen.add(real)
            kept.append(name)
    return kept
