"""Finds the files of an input, and picks each one's reader by the ending of its name."""

from __future__ import annotations

import logging
from collections.abc import Container
from functools import cache
from glob import has_magic
from pathlib import Path, PurePosixPath

from actors.errors import InputError, MissingError, NoInputError, StorageError
from jobs.input.arrow_file import ArrowFile
from jobs.input.base import InputFile
from jobs.input.formats import kind_of, known, natural
from jobs.input.globs import fixed_part, matches
from jobs.input.parquet import ParquetFile
from jobs.input.source import Source, source_at
from jobs.input.strangers import document_of, is_hidden, is_no_data, is_underscored
from jobs.input.text import CsvFile, JsonLinesFile, TextFile
from jobs.input.walk import (
    each_once,
    files_below,
    files_of_glob,
    real_file,
    split_glob,
    what_is_no_file,
)
from jobs.storage.storage_at import storage_at
from jobs.storage.urls import checked, is_url

log = logging.getLogger("bottega.job")

MOST_NAMED = 5
"""Files in an error, which stays readable."""


def find_files(pattern: str) -> list[Source]:
    """The files of `input`: a file, a folder's or a glob's; each real file once, `p2` before `p10`.

    Raises NoInputError if there are none, InputError if they are of several formats, or if one
    may be data and is not read.
    """
    try:
        found = _objects_at(pattern) if is_url(pattern) else _files_at(pattern)
    except StorageError as error:  # of a local folder: it went while it was listed
        raise InputError(f"input {error.where} {error.what}.") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: `~user` of an unknown user
        reason = _reason(error) if isinstance(error, OSError) else error
        raise InputError(f"input {pattern[:200]!r} cannot be looked for: {reason}.") from error
    return _of_one_family(pattern, *found)


def _reason(error: OSError) -> str:
    """With the file, which may be another than the input."""
    return f"{error.strerror} ({str(error.filename)[-200:]!r})" if error.filename else str(error)


def _files_at(pattern: str) -> tuple[list[Source], list[str]]:
    """The files that are read, and the names of those that are left out as hidden."""
    path = Path(pattern).expanduser()
    if path.is_file():
        return [_readable(pattern, source_at(path))], []
    rest = ""
    if path.is_dir():
        # The output of a job is read as the dataset that it is.
        folder = path / "data" if _is_output(path) else path
        names, others = files_below(folder)
    else:
        folder, rest = split_glob(pattern)
        _refuse_on_the_way(pattern, folder)
        if not rest or not folder.is_dir():
            raise NoInputError(_not_there(pattern))
        names, others = files_of_glob(folder, rest)
    taken, unread, hidden = _sorted_out(pattern, rest, names)
    real = {real_file(folder / name) for name in taken} if unread else set()
    unread = [name for name in unread if real_file(folder / name) not in real]
    amiss = {name: what for name, what in others.items() if not _is_left(name, rest, names)}
    _refuse_unread(pattern, dict.fromkeys(unread, "") | amiss)
    return [source_at(folder / name) for name in each_once(folder, taken)], hidden


def _refuse_on_the_way(pattern: str, path: Path) -> None:
    """Refuse a path that is neither file nor folder, or leads through such: a link to nothing is
    no input that is not there yet."""
    for one in (path, *path.parents):
        if what := what_is_no_file(one):
            raise InputError(
                f"input {pattern!r}: {str(one)!r} is {what}. Give a file, a folder or a glob."
            )


def _objects_at(pattern: str) -> tuple[list[Source], list[str]]:
    """The same at a URL. A name that is no file's is a folder."""
    fixed, rest = fixed_part(pattern)
    if not rest and (file := _object_at(pattern)):
        return [_readable(pattern, file)], []
    storage = storage_at(checked(fixed))
    entries = {entry.path: entry for entry in storage.entries()}
    if not entries:
        raise NoInputError(_not_there(pattern))
    # An object without content and without an ending marks a folder.
    names = [name for name, entry in entries.items() if entry.size or PurePosixPath(name).suffix]
    if not rest and "job.json" in entries and any(one.startswith("records/") for one in entries):
        names = [name for name in names if name.startswith("data/")]
    taken, unread, hidden = _sorted_out(pattern, rest, names)
    _refuse_unread(pattern, dict.fromkeys(unread, ""))
    return [Source(storage, entries[name]) for name in sorted(taken, key=natural)], hidden


def _sorted_out(
    pattern: str, rest: str, names: list[str]
) -> tuple[list[str], list[str], list[str]]:
    """The names that are read, those that may be data and are not read, and those that are hidden.

    rest: the glob that the names have to fit; empty: none.
    """
    beside = frozenset(names)
    taken: list[str] = []
    unread: list[str] = []
    hidden: list[str] = []
    for name in names:
        fits = not rest or matches(rest, name)
        if not fits and not _is_in_a_fitting_folder(name, rest):
            continue
        if not _is_left(name, rest, beside):
            (taken if fits and kind_of(name) else unread).append(name)
        elif fits and kind_of(name) and is_hidden(name):
            hidden.append(name)
    if taken and (meant := [name for name in hidden if is_underscored(name)]):
        _log_hidden(pattern, meant[0], len(meant))
    return taken, unread, hidden


def _is_in_a_fitting_folder(name: str, pattern: str) -> bool:
    """Whether the glob takes a folder above that is called as data: Spark writes such."""
    above = PurePosixPath(name).parents
    return any(kind_of(one.name) and matches(pattern, str(one)) for one in above)


def _is_left(name: str, pattern: str, beside: Container[str]) -> bool:
    """Whether a file holds no rows, and the glob does not ask for it: it is another program's, or
    for people."""
    steps = pattern.split("/")
    if is_hidden(name) and not any(step.startswith(("_", ".")) for step in steps):
        return True
    document = document_of(PurePosixPath(name).name)
    if document and document in steps[-1].lower():
        return False
    return is_no_data(name, beside)


@cache
def _log_hidden(pattern: str, first: str, count: int) -> None:
    """Once in a process, which looks for its input several times."""
    more = f" and {count - 1:,} more" if count > 1 else ""
    log.info(
        "input %r: %s%s left out, as names that begin with _ are hidden (_SUCCESS, _temporary). "
        "What is meant can be renamed, or named with a glob",
        pattern,
        first,
        f"{more} {'are' if count > 1 else 'is'}",
    )


def _object_at(url: str) -> Source | None:
    """The object of that name; None for a bucket, a repository, or where there is none."""
    if not Path(url).suffix:
        return None
    try:
        return source_at(url)
    except MissingError:
        return None


def _is_output(folder: Path) -> bool:
    return (folder / "job.json").is_file() and (folder / "records").is_dir()


def _readable(pattern: str, file: Source) -> Source:
    if file.kind is None:
        ending = PurePosixPath(file.name).suffix
        raise InputError(f"input {pattern!r} ends in {ending!r}; known: {known()}.")
    return file


def _refuse_unread(pattern: str, unread: dict[str, str]) -> None:
    """Refuse names that are not read, each with what it is, if that is not a file."""
    if not unread:
        return
    some = list(unread.items())[:MOST_NAMED]
    shown = ", ".join(f"{name} ({what})" if what else name for name, what in some)
    more = f" and {len(unread) - MOST_NAMED:,} more" if len(unread) > MOST_NAMED else ""
    raise InputError(
        f"input {pattern!r} has what may be data and is not read: {shown}{more}. Convert or fetch "
        f"it, or name what is meant with a glob. Read: {known()}."
    )


def _of_one_family(pattern: str, files: list[Source], hidden: list[str]) -> list[Source]:
    if not files and hidden:
        shown = ", ".join(hidden[:MOST_NAMED])
        more = f" and {len(hidden) - MOST_NAMED:,} more" if len(hidden) > MOST_NAMED else ""
        raise NoInputError(
            f"input {pattern!r} has no file but {shown}{more}, and names that begin with _ or . "
            "are hidden (_SUCCESS, .DS_Store). Rename what is meant, or name it with a glob that "
            "begins so, such as '_*.csv'."
        )
    if not files:
        raise NoInputError(
            f"input {pattern!r} has no file that ends in one of {known()}.{_brackets(pattern)}"
        )
    first: dict[str, Source] = {}
    for file in files:
        assert file.kind is not None
        first.setdefault(file.kind.family, file)
    if len(first) > 1:
        shown = ", ".join(file.name for file in first.values())
        raise InputError(
            f"input {pattern!r} has files of several formats, such as {shown}. Name those of one "
            "with a glob, such as 'prompts/*.parquet'."
        )
    return files


def _not_there(pattern: str) -> str:
    return f"input {pattern!r} does not exist. Give a file, a folder or a glob.{_brackets(pattern)}"


def _brackets(pattern: str) -> str:
    if "[" not in pattern:
        return ""
    return " In a glob [1] is any one of the characters in it; a bracket itself is written [[]."


def open_file(file: Source, text_column: str) -> InputFile:
    """The reader for a file, by its ending. `text_column`: the name of a .txt file's column."""
    assert file.kind is not None, "find_files finds data alone"
    match file.kind.family:
        case "parquet":
            return ParquetFile(file)
        case "arrow":
            return ArrowFile(file)
        case "csv":
            return CsvFile(file)
        case "json":
            return JsonLinesFile(file)
        case "txt":
            return TextFile(file, text_column)


def check_apart(pattern: str, place: str) -> None:
    """Refuse an output inside the input, or an input inside the output. Raises InputError."""
    if is_url(pattern) or is_url(place):
        _check_urls_apart(pattern, place)
        return
    output = Path(place).expanduser().resolve()
    there = Path(pattern).expanduser().absolute()
    if there.exists():
        fixed, inside = there.resolve(), there.is_dir() and output.is_relative_to(there.resolve())
    else:
        steps = there.parts
        magic = next((n for n, step in enumerate(steps) if has_magic(step)), len(steps))
        fixed = Path(*steps[:magic]).resolve()
        whole = fixed.joinpath(*steps[magic:])
        parts = ("data/00000/part-00000000.parquet", "data/part-00000000.parquet")
        deep = "**" in steps and output.is_relative_to(fixed)
        inside = deep or any((output / part).match(str(whole)) for part in parts)
    if inside or fixed.is_relative_to(output):
        raise InputError(_one_inside_the_other(pattern, str(output)))


def _check_urls_apart(pattern: str, place: str) -> None:
    """The same for URLs; a folder and a URL are always apart."""
    steps = pattern.rstrip("/").split("/")
    fixed = steps[: next((n for n, step in enumerate(steps) if has_magic(step)), len(steps))]
    output = place.rstrip("/").split("/")
    shorter = min(len(fixed), len(output))
    if fixed[:shorter] == output[:shorter] and not _is_beside(steps, fixed, output):
        raise InputError(_one_inside_the_other(pattern, place))


def _is_beside(steps: list[str], fixed: list[str], output: list[str]) -> bool:
    """Whether a glob in a folder above the output takes files beside it only: no `**`, and its
    steps end before an output's files begin."""
    if fixed == steps or "**" in steps or len(output) < len(fixed):
        return False
    return len(steps) <= len(output) + 1


def _one_inside_the_other(pattern: str, output: str) -> str:
    return (
        f"output {output!r} and input {pattern!r} lie one inside the other: the job would "
        "read what it writes. Choose an output folder outside the input."
    )
