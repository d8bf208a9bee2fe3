"""Finds the files of an input, and picks each one's reader by the ending of its name."""

from __future__ import annotations

from glob import has_magic
from pathlib import Path, PurePosixPath

from actors.errors import InputError, MissingError, NoInputError, StorageError
from jobs.input.arrow_file import ArrowFile
from jobs.input.base import InputFile
from jobs.input.formats import (
    is_left_by_tools,
    is_unread_data,
    kind_of,
    known,
    natural,
)
from jobs.input.globs import fixed_part, matches
from jobs.input.parquet import ParquetFile
from jobs.input.source import Source, source_at
from jobs.input.text import CsvFile, JsonLinesFile, TextFile
from jobs.input.walk import each_once, files_below, files_of_glob, split_glob
from jobs.storage.storage_at import storage_at
from jobs.storage.urls import checked, is_url

MOST_NAMED = 5
"""Files in an error, which stays readable."""


def find_files(pattern: str) -> list[Source]:
    """The files of `input`: a file, a folder's or a glob's; each real file once, `p2` before `p10`.

    Raises NoInputError if there are none, InputError if they are of several formats, or if one
    looks like data and is not read.
    """
    try:
        found = _objects_at(pattern) if is_url(pattern) else _files_at(pattern)
    except StorageError as error:  # of a local folder: it went while it was listed
        raise InputError(f"input {error.where} {error.what}.") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: `~user` of an unknown user
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"input {pattern[:200]!r} cannot be looked for: {reason}.") from error
    return _of_one_family(pattern, found)


def _files_at(pattern: str) -> list[Source]:
    path = Path(pattern).expanduser()
    if path.is_file():
        return [_readable(pattern, source_at(path))]
    if path.is_dir():
        # The output of a job is read as the dataset that it is.
        folder = path / "data" if _is_output(path) else path
        names = [name for name in files_below(folder) if not is_left_by_tools(name)]
    else:
        folder, rest = split_glob(pattern)
        if not rest or not folder.is_dir():
            raise NoInputError(_not_there(pattern))
        names = [name for name in files_of_glob(folder, rest) if not _is_left(name, rest)]
    names = each_once(folder, _with_data(pattern, names))
    return [source_at(folder / name) for name in names]


def _objects_at(pattern: str) -> list[Source]:
    """The same at a URL. A name that is no file's is a folder."""
    fixed, rest = fixed_part(pattern)
    if not rest and (file := _object_at(pattern)):
        return [_readable(pattern, file)]
    storage = storage_at(checked(fixed))
    entries = {entry.path: entry for entry in storage.entries()}
    if not entries:
        raise NoInputError(_not_there(pattern))
    if rest:
        names = [name for name in entries if matches(rest, name) and not _is_left(name, rest)]
    else:
        names = [name for name in entries if not is_left_by_tools(name)]
        if {"job.json"} <= entries.keys() and any(one.startswith("records/") for one in entries):
            names = [name for name in names if name.startswith("data/")]
    names = _with_data(pattern, sorted(names, key=natural))
    return [Source(storage, entries[name]) for name in names]


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


def _is_left(name: str, pattern: str) -> bool:
    """Whether a file that fits a glob is another program's, and the glob does not ask for it."""
    says_so = any(step.startswith(("_", ".")) for step in pattern.split("/"))
    return not says_so and is_left_by_tools(name)


def _readable(pattern: str, file: Source) -> Source:
    if file.kind is None:
        ending = PurePosixPath(file.name).suffix
        raise InputError(f"input {pattern!r} ends in {ending!r}; known: {known()}.")
    return file


def _with_data(pattern: str, names: list[str]) -> list[str]:
    """The names of data; refuses what looks like data and is not read."""
    unread = [name for name in names if is_unread_data(name)]
    if unread:
        shown = ", ".join(unread[:MOST_NAMED])
        more = f" and {len(unread) - MOST_NAMED:,} more" if len(unread) > MOST_NAMED else ""
        raise InputError(
            f"input {pattern!r} has files that look like data and are not read: {shown}{more}. "
            f"Convert them, or name what is meant with a glob. Read: {known()}."
        )
    return [name for name in names if kind_of(name)]


def _of_one_family(pattern: str, files: list[Source]) -> list[Source]:
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
