"""Finds the files of an input, and picks each one's reader by the ending of its name."""

from __future__ import annotations

from glob import glob, has_magic
from pathlib import Path

from actors.errors import InputError, MissingError, StorageError
from jobs.input.base import InputFile
from jobs.input.globs import fixed_part, matches
from jobs.input.parquet import ParquetFile
from jobs.input.source import Source, source_at
from jobs.input.text import CsvFile, JsonLinesFile, TextFile
from jobs.storage.storage_at import storage_at
from jobs.storage.urls import checked, is_url

SUFFIXES = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "txt",
}


def find_files(pattern: str) -> list[Source]:
    """The files of `input`: a file, a folder's files of one format, or a glob; sorted by name.

    In a folder only files with a known ending count (not `_SUCCESS`, not `README.md`).
    Raises InputError if there are none, or of several formats.
    """
    if is_url(pattern):
        try:
            return _of_one_format(pattern, _find_objects(pattern))
        except StorageError as error:
            raise InputError(f"input {error.where} {error.what}.") from error
    try:
        return _of_one_format(pattern, _find_files(pattern, Path(pattern).expanduser()))
    except (OSError, RuntimeError) as error:  # RuntimeError: `~user` of an unknown user
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"input {pattern[:200]!r} cannot be looked for: {reason}.") from error
    except StorageError as error:  # it went while the folder was listed
        raise InputError(f"input {error.where} {error.what}.") from error


def _find_files(pattern: str, path: Path) -> list[Source]:
    if path.is_dir():
        found = [p for p in path.rglob("*") if p.is_file() and not _is_hidden(p.relative_to(path))]
    elif has_magic(pattern) and not path.exists():
        found = [p for p in map(Path, glob(str(path), recursive=True)) if p.is_file()]
    elif path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"input {pattern!r} ends in {path.suffix!r}; known: {_known()}.")
        found = [path]
    else:
        raise InputError(f"input {pattern!r} does not exist. Give a file, a folder or a glob.")
    return [source_at(p) for p in sorted(found) if p.suffix.lower() in SUFFIXES]


def _find_objects(pattern: str) -> list[Source]:
    """The same at a URL. A name that is no file's is a folder."""
    fixed, rest = fixed_part(pattern)
    if rest:
        storage = storage_at(checked(fixed))
        found = [Source(storage, entry) for entry in storage.entries() if matches(rest, entry.path)]
    elif file := _object_at(pattern):
        if file.suffix not in SUFFIXES:
            raise InputError(f"input {pattern!r} ends in {file.suffix!r}; known: {_known()}.")
        found = [file]
    else:
        storage = storage_at(pattern)
        entries = storage.entries()
        if not entries:
            raise InputError(f"input {pattern!r} does not exist. Give a file, a folder or a glob.")
        visible = (entry for entry in entries if not _is_hidden(Path(entry.path)))
        found = [Source(storage, entry) for entry in visible]
    return [file for file in found if file.suffix in SUFFIXES]


def _object_at(url: str) -> Source | None:
    """The object of that name; None for a bucket, a repository, or where there is none."""
    if not Path(url).suffix:
        return None
    try:
        return source_at(url)
    except MissingError:
        return None


def _of_one_format(pattern: str, files: list[Source]) -> list[Source]:
    if not files:
        raise InputError(f"input {pattern!r} has no file that ends in one of {_known()}.")
    formats = sorted({file.suffix for file in files})
    if len({SUFFIXES[suffix] for suffix in formats}) > 1:
        raise InputError(
            f"input {pattern!r} has files of several formats ({', '.join(formats)}). "
            "Name one of them with a glob, such as 'prompts/*.parquet'."
        )
    return files


def _known() -> str:
    return ", ".join(SUFFIXES)


def _is_hidden(path: Path) -> bool:
    return any(step.startswith(("_", ".")) for step in path.parts)


def open_file(file: Source, text_column: str) -> InputFile:
    """The reader for a file, by its ending. `text_column`: the name of a .txt file's column."""
    match SUFFIXES[file.suffix]:
        case "parquet":
            return ParquetFile(file)
        case "csv":
            return CsvFile(file)
        case "jsonl":
            return JsonLinesFile(file)
        case _:
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
