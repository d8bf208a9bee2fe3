"""The files of this machine that a folder or a glob leads to: each real file once.

Links are followed, by folders and globs alike, but none that leads back to a folder above it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import ELOOP
from glob import has_magic
from pathlib import Path
from stat import S_ISFIFO, S_ISREG

from jobs.input.formats import kind_of, natural
from jobs.input.globs import may_lead_to

ANNEX = "/annex/objects/"
"""In the links and pointers of git-annex."""


def files_below(folder: Path, depth: int | None = None) -> tuple[list[str], dict[str, str]]:
    """What lies below a folder, relative to it, in natural order; down to `depth` steps.

    Returns the files, and what is neither file nor folder, with what it is. Raises OSError.
    """
    found = sorted(_walk(folder, "", (os.path.realpath(folder),), depth), key=_order)
    files = [name for name, what in found if not what]
    return files, {name: what for name, what in found if what}


def _order(found: tuple[str, str]) -> tuple[list[tuple[int, int | str]], str]:
    return natural(found[0])


def _walk(
    folder: Path, prefix: str, above: tuple[str, ...], depth: int | None
) -> Iterator[tuple[str, str]]:
    """Names, each with what it is; "" for a file."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        name = f"{prefix}{entry.name}"
        if _leads_in_a_circle(entry):
            yield name, "a link that leads to itself"
        elif entry.is_dir():
            real = os.path.realpath(entry.path)
            if depth == 1:
                if kind_of(name):  # Spark calls folders of parts `prompts.csv`
                    yield name, "a folder"
            elif real not in above:
                below = None if depth is None else depth - 1
                yield from _walk(Path(entry.path), f"{name}/", (*above, real), below)
        else:
            yield name, "" if entry.is_file() else what_is_no_file(Path(entry.path))


def _leads_in_a_circle(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return False
    try:
        entry.is_dir()
    except OSError as error:
        if error.errno != ELOOP:
            raise
        return True
    return False


def what_is_no_file(path: Path) -> str:
    """What lies there, if neither a file nor a folder; "" if it is one, or there is nothing."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if not path.is_symlink():
            return ""
        if error.errno == ELOOP:
            return "a link that leads to itself"
        target = os.readlink(path)
        how = ": run `git annex get` in its repository" if ANNEX in target else ""
        return f"a link to {target[-200:]}, which is not there{how}"
    if S_ISREG(mode) or path.is_dir():
        return ""
    return "a pipe" if S_ISFIFO(mode) else "no file"


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


def files_of_glob(folder: Path, pattern: str) -> tuple[list[str], dict[str, str]]:
    """As `files_below` does, down to where a pattern leads; the others are those that fit, and
    those that would lead on if they were folders."""
    steps = pattern.split("/")
    files, others = files_below(folder, None if "**" in steps else len(steps))
    return files, {name: what for name, what in others.items() if may_lead_to(pattern, name)}


def each_once(folder: Path, names: list[str]) -> list[str]:
    """Without the names that lead to a file that an earlier one leads to. Raises OSError."""
    seen: set[tuple[int, int] | str] = set()
    kept = []
    for name in names:
        if (real := real_file(folder / name)) not in seen:
            seen.add(real)
            kept.append(name)
    return kept


def real_file(path: Path) -> tuple[int, int] | str:
    """What two names of one file have in common: its device and inode; the real path where the
    file system has no inodes."""
    status = path.stat()
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)
