"""What travels to the cluster with a job, and what is refused because the cluster cannot see it.

The job file travels, with the inputs beside it if they are small, the module of an oracle of one's
own, and the files of hooks. Nothing else does: no environment, no hidden file, nothing that is
named like a secret. A path that stays has to be one that every node sees.
"""

from __future__ import annotations

import fnmatch
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import copy, copyfile
from typing import Any

import yaml

from actors.errors import SpecError
from actors.settings import ORACLE_KINDS
from jobs.input.discovery import find_files
from jobs.job_id import absolute

MOST_BYTES = 20_000_000
"""Of all that travels. Ray keeps it in the memory of the head; 200,000 prompts and an oracle's code
are not more."""

JOB_FILE = "job.yaml"
HOOKS = "hooks"
"""The folder of the files of hooks."""

NEVER = (
    *(".*", "__pycache__", "venv", "env", "node_modules", "site-packages"),
    *("*.pem", "*.key", "*.p12", "id_rsa*", "id_ed25519*"),
    *("*secret*", "*credential*", "*password*", "*token*.json", "*token*.txt"),
)
"""Names of files and folders that do not travel with an oracle's package."""

Sees = Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class Luggage:
    """What travels: names within the folder, and their bytes together."""

    names: tuple[str, ...]
    num_bytes: int

    def __str__(self) -> str:
        size = f"{self.num_bytes / 1000:.1f} kB" if self.num_bytes < 1e6 else f"{self._mb:.1f} MB"
        return f"{', '.join(self.names)} ({size})"

    @property
    def _mb(self) -> float:
        return self.num_bytes / 1e6


def pack(fields: Mapping[str, Any], beside: Path, into: Path, sees: Sees) -> Luggage:
    """Write the job file into the folder `into`, with its paths as the cluster has them, and copy
    what travels with it.

    fields: of the job file, as they are written. beside: the job file's folder. sees: whether every
    node of the cluster has a path of this machine. Raises SpecError, or an error of the input.
    """
    packed = {**fields, "output": _place(str(fields["output"]), "output", sees)}
    if isinstance(fields.get("after"), Mapping):
        packed["after"] = _after(fields["after"], into, sees)
    packed["input"] = _input(str(fields["input"]), fields.get("image_column"), into, sees)
    packed["models"] = _with_absolute_paths(fields.get("models"), "models", sees)
    for kind in _own_kinds(fields.get("models")):
        _copy_module(kind, beside, into)
    (into / JOB_FILE).write_text(yaml.safe_dump(packed, sort_keys=False, allow_unicode=True))
    files = [file for file in into.rglob("*") if file.is_file()]
    luggage = Luggage(
        tuple(sorted({file.relative_to(into).parts[0] for file in files})),
        sum(file.stat().st_size for file in files),
    )
    if luggage.num_bytes > MOST_BYTES:
        raise SpecError(
            f"{luggage} would travel to the cluster, and at most {MOST_BYTES / 1e6:.0f} MB do. Put "
            "the large files where every node sees them: in an object store, or in a folder that "
            "all mount, which --shared names."
        )
    return luggage


def _after(after: Mapping[str, Any], into: Path, sees: Sees) -> dict[str, Any]:
    """What follows the dataset, with its places and the files of its hooks as the cluster has them.

    The fields were validated before.
    """
    packed = dict(after)
    for name, field in (("publish", "to"), ("retention", "of")):
        if below := after.get(name):
            place = _place(below[field], f"after.{name}.{field}", sees)
            packed[name] = {**below, field: place}
    for name in ("on_success", "on_failure"):
        if words := after.get(name):
            packed[name] = [_word(word, f"after.{name}", into, sees) for word in words]
    return packed


def _word(word: str, at: str, into: Path, sees: Sees) -> str:
    """A word of a hook. One that names a file of this machine, by a relative path, goes along."""
    file = Path(word)
    if file.is_absolute() or not file.is_file():
        return word
    if sees(file.absolute()):
        return str(file.absolute())
    if any(fnmatch.fnmatch(file.name.lower(), never) for never in NEVER):
        raise SpecError(
            f"{at}: {word!r} is named like a secret, and does not travel. Put it where the hook "
            "runs, on the cluster's head, and give its absolute path."
        )
    target = into / HOOKS / file.name
    if target.exists() and target.read_bytes() != file.read_bytes():
        raise SpecError(f"{at}: two files are called {file.name!r}. Give one another name.")
    target.parent.mkdir(exist_ok=True)
    copy(file, target)  # with its mode: it may be a program
    return f"./{HOOKS}/{file.name}"


def _place(output: str, at: str, sees: Sees) -> str:
    place = absolute(output)
    if "://" not in place and not sees(Path(place)):
        raise SpecError(
            f"{at}: {output!r} is a folder of this machine, and the cluster has others. Give a "
            "URL of an object store, or a folder that every node mounts, and name that folder with "
            "--shared, or as `shared` in the profile."
        )
    return place


def _input(pattern: str, image_column: str | None, into: Path, sees: Sees) -> str:
    if "://" in pattern:
        return pattern
    path = Path(pattern).expanduser().absolute()
    if sees(path):
        above = next(one for one in (path, *path.parents) if one.exists())
        if sees(above):  # else this machine does not mount the folder that all nodes do
            find_files(pattern)
        return str(path)
    files = [Path(str(file)) for file in find_files(pattern)]
    size = sum(file.stat().st_size for file in files)
    most = f"At most {MOST_BYTES / 1e6:.0f} MB travel with the job"
    where = "where every node sees them (an object store, or a folder that --shared names)"
    if size > MOST_BYTES:
        raise SpecError(
            f"input: {pattern!r} has {size / 1e6:.0f} MB, and the cluster does not see this "
            f"machine's files. {most}: put them {where}."
        )
    if image_column is not None and any(file.suffix.lower() != ".parquet" for file in files):
        raise SpecError(
            f"image_column: {image_column!r} names pictures by their paths, and they do not travel "
            f"with the job. Put input and pictures {where}."
        )
    folder = into / "input"
    root = path if path.is_dir() else None
    for file in files:
        target = folder / (file.relative_to(root) if root else file.name)
        if target.exists():
            raise SpecError(
                f"input: {pattern!r} has two files of the name {file.name!r}, which cannot travel "
                f"into one folder. Give the folder above them, or put them {where}."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        copyfile(file, target)
    return f"input/{files[0].name}" if len(files) == 1 and root is None else "input"


def _with_absolute_paths(fields: Any, at: str, sees: Sees) -> Any:
    """The fields with paths of this machine made absolute; a hub's id is no path here."""
    if isinstance(fields, list):
        return [_with_absolute_paths(one, f"{at}.{n}", sees) for n, one in enumerate(fields)]
    if not isinstance(fields, Mapping):
        return fields
    found = {}
    for name, value in fields.items():
        if name in ("path", "file") and isinstance(value, str) and "://" not in value:
            path = Path(value).expanduser()
            if path.exists():
                if not sees(path.absolute()):
                    raise SpecError(
                        f"{at}.{name}: {value!r} is on this machine, and the cluster has others. "
                        "Put the model where every node sees it (a folder that --shared names), or "
                        "give its id on the hub."
                    )
                value = str(path.absolute())
        else:
            value = (
                value if name == "options" else _with_absolute_paths(value, f"{at}.{name}", sees)
            )
        found[name] = value
    return found


def _own_kinds(models: Any) -> Iterator[str]:
    """The kinds of oracles that name a class of one's own."""
    oracle = models.get("oracle") if isinstance(models, Mapping) else None
    brought = oracle if isinstance(oracle, Mapping) else {}
    lists = [brought.get(name) or () for name in ("members", "extra_scores", "filters")]
    for one in (oracle, *(one for found in lists for one in found)):
        kind = one.get("kind") if isinstance(one, Mapping) else None
        if isinstance(kind, str) and ":" in kind and kind not in ORACLE_KINDS:
            yield kind


def _copy_module(kind: str, beside: Path, into: Path) -> None:
    """Copy the module of `module:Class`, unless it is installed: then the cluster has it too."""
    top = kind.partition(":")[0].partition(".")[0]
    source = _module(top, beside)
    if source is None:
        return
    for file in _files_of(source):
        target = into / (Path(top) / file.relative_to(source) if source.is_dir() else file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        copyfile(file, target)


def _module(top: str, beside: Path) -> Path | None:
    """The file or folder of a module that is not installed: beside the job file, or on the path."""
    for near in (beside / f"{top}.py", beside / top):
        if near.is_file() or (near / "__init__.py").is_file():
            return near
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin or spec.origin in ("built-in", "frozen"):
        return None
    file = Path(spec.origin)
    installed = {*site.getsitepackages(), site.getusersitepackages(), *_standard_library()}
    if any(file.is_relative_to(folder) for folder in installed):
        return None
    return file.parent if file.name == "__init__.py" else file


def _standard_library() -> list[str]:
    return [sysconfig.get_path("stdlib"), sys.prefix]


def _files_of(source: Path) -> Iterator[Path]:
    """A module's file, or the files of a package that may travel. No link leads out of it."""
    if source.is_file():
        yield source
        return
    for file in sorted(source.rglob("*")):
        steps = file.relative_to(source).parts
        if any(fnmatch.fnmatch(step.lower(), never) for step in steps for never in NEVER):
            continue
        if file.is_file() and not file.is_symlink():
            yield file
