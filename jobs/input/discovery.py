"""Finds the files of an input, and picks each one's reader by the ending of its name."""

from __future__ import annotations

from glob import glob, has_magic
from pathlib import Path

from actors.errors import InputError
from jobs.input.base import InputFile
from jobs.input.parquet import ParquetFile
from jobs.input.text import CsvFile, JsonLinesFile, TextFile
from jobs.storage.urls import is_url

SUFFIXES = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "txt",
}


def find_files(pattern: str) -> list[Path]:
    """The files of `input`: a file, a folder's files of one format, or a glob; sorted by name.

    In a folder only files with a known ending count (not `_SUCCESS`, not `README.md`).
    Raises InputError if there are none, or of several formats.
    """
    try:
        return _find_files(pattern, Path(pattern).expanduser())
    except (OSError, RuntimeError) as error:  # RuntimeError: `~user` of an unknown user
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"input {pattern[:200]!r} cannot be looked for: {reason}.") from error


def _find_files(pattern: str, path: Path) -> list[Path]:
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
    files = sorted(p for p in found if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"input {pattern!r} has no file that ends in one of {_known()}.")
    formats = sorted({p.suffix.lower() for p in files})
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


def open_file(file: Path, text_column: str) -> InputFile:
    """The reader for a file, by its ending. `text_column`: the name of a .txt file's column."""
    match SUFFIXES[file.suffix.lower()]:
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
