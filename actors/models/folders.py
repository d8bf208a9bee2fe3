"""Model folders: are they there, are they safe, and which bytes are they?

Looks at files only; nothing here loads a model, so a bad path is refused before an actor starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, TypeVar

from actors.errors import ModelError
from actors.models.checks import PICKLES, check_components, read_config, refuse_code
from actors.settings import (
    ControlNetSettings,
    DenoiserSettings,
    DiffusionSettings,
    MemberSettings,
    OracleSettings,
    StudentSettings,
    TeacherSettings,
)

S = TypeVar(
    "S",
    DiffusionSettings,
    StudentSettings,
    TeacherSettings,
    OracleSettings,
    MemberSettings,
    DenoiserSettings,
    ControlNetSettings,
)

DESCRIPTIONS = ("*.json", "*.txt", "*.model")
"""What a model's folder holds beside its weights, and is not code."""


def model_folder(
    path: str,
    revision: str | None = None,
    also: Sequence[str] = (),
    weights: str = "*.safetensors",
) -> Path:
    """The local folder of a model: its path, or the hub snapshot of its id (downloaded if needed).

    weights, also: patterns of files that are wanted from the hub, beside descriptions.
    Raises ModelError if there is neither.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        return local
    if local.is_file():
        raise ModelError(
            f"model path {path!r} is one file, and a model is a folder in the format of "
            "diffusers or transformers. A checkpoint in one file is often a pickle, which can run "
            "code when loaded: convert it where that does no harm."
        )
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise ModelError(
            f"model path {path!r} is not a folder. Give the folder that holds "
            "model_index.json (or an oracle's config.json), or a hub id such as 'owner/name'."
        )
    return hub_snapshot(path, revision, [*DESCRIPTIONS, weights, *also])


def hub_snapshot(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The files of a hub model that match, downloaded if needed. Raises ModelError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot = snapshot_download(name, revision=revision, allow_patterns=list(patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model {name!r} is no folder here, and the hub did not give it: {error}. "
            "Check the name, the network, or download it first and give the folder."
        ) from error
    return Path(snapshot)


def check_folder(settings: DiffusionSettings) -> Path:
    """The folder of a pipeline, refused if it is half-copied, pickled, or brings its own code."""
    # Beside the components' folders there is often the whole model again in one file.
    stem = f"*/*.{settings.variant}*" if settings.variant else "*/*"
    pickles = [f"{stem}.bin"] if settings.allow_pickle else []
    folder = model_folder(settings.path, settings.revision, pickles, f"{stem}.safetensors")
    if not (folder / "model_index.json").is_file():
        raise ModelError(
            f"model folder {settings.path!r} has no model_index.json. "
            "Is the copy complete, and is it this kind of model?"
        )
    refuse_code(folder)
    check_components(folder, settings.allow_pickle, settings.variant)
    return folder


def fingerprint(folder: Path, below: str = "") -> str:
    """A hash of the names and contents of a model's files under `below`: the same files, the same.

    Documents (README, log) do not count: they change no picture.
    """
    files = (p for p in (folder / below).rglob("*") if p.is_file() and p.suffix in _COUNTED)
    return hash_files((p.relative_to(folder).as_posix(), p) for p in sorted(files))


_COUNTED = {".json", ".txt", ".model", ".safetensors"} | PICKLES


def same_autoencoder(
    student: Path, teacher: Path, variants: tuple[str | None, str | None] = (None, None)
) -> bool:
    """Whether the student's latents mean to the teacher what they mean to the student.

    By the weights and the settings; remarks in the configuration (`_diffusers_version`, a path, the
    indentation) do not count. variants: the student's and the teacher's.
    """
    if student == teacher and variants[0] == variants[1]:
        return True
    one, other = _autoencoder(student, variants[0]), _autoencoder(teacher, variants[1])
    return one is not None and one == other


def _autoencoder(folder: Path, variant: str | None) -> tuple[dict[str, Any], str] | None:
    """Settings and weights; None for a pipeline that keeps its pictures otherwise."""
    if not (folder / "vae/config.json").is_file():
        return None
    config = read_config(folder / "vae/config.json")
    files = sorted(p for p in (folder / "vae").iterdir() if p.suffix in {".safetensors", *PICKLES})
    # model.safetensors, or model.fp16.safetensors: which of them is loaded.
    wanted = [variant] if variant else []
    loaded = [file for file in files if file.name.split(".")[1:-1] == wanted]
    weights = ((p.name, p) for p in loaded or files)
    return {k: v for k, v in config.items() if not k.startswith("_")}, hash_files(weights)


def pinned(settings: S, folder: Path) -> S:
    """The settings with a path that means the same in every process, for the whole job.

    A folder gets its absolute path; a hub id the commit that `folder`, its snapshot, is of.
    """
    if Path(settings.path).expanduser().is_dir():
        return settings.model_copy(update={"path": str(folder.resolve())})
    return settings.model_copy(update={"revision": folder.name})


def hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """Of files' names, sizes and contents."""
    digest = sha256()
    for name, path in files:
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
