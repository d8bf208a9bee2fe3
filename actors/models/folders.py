"""Model folders: are they there, are they safe, and which bytes are they?

Looks at files only; nothing here loads a model, so a bad path is refused before an actor starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, TypeVar

from actors.errors import ModelError
from actors.models.checks import (
    PICKLES,
    check_components,
    check_file,
    check_weights,
    read_config,
    refuse_code,
)
from actors.settings import (
    DenoiserSettings,
    DiffusionSettings,
    LoraSettings,
    OracleSettings,
    StudentSettings,
    TeacherSettings,
)

S = TypeVar("S", DiffusionSettings, StudentSettings, TeacherSettings, OracleSettings)


def model_folder(settings: DiffusionSettings | OracleSettings) -> Path:
    """The local folder of a model: its path, or the hub snapshot of its id (downloaded if needed).

    Raises ModelError if there is neither.
    """
    path = Path(settings.path).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(
            f"model path {settings.path!r} is one file, and a model is a folder in the format of "
            "diffusers or transformers. A checkpoint in one file is often a pickle, which can run "
            "code when loaded: convert it where that does no harm."
        )
    if settings.path.startswith((".", "/", "~")) or settings.path.count("/") != 1:
        raise ModelError(
            f"model path {settings.path!r} is not a folder. Give the folder that holds "
            "model_index.json (or an oracle's config.json), or a hub id such as 'owner/name'."
        )
    return _snapshot(settings.path, settings.revision, _wanted(settings))


def _wanted(settings: DiffusionSettings | OracleSettings) -> list[str]:
    """Patterns of the files that are downloaded."""
    # A pipeline's weights lie in its components' folders; beside these is often the same model
    # again in one file, which is not needed.
    below = "*/" if isinstance(settings, DiffusionSettings) else ""
    variant = settings.variant if isinstance(settings, DiffusionSettings) else None
    weights = [f"{below}*.{variant}*" if variant else f"{below}*"]
    endings = [".safetensors", *([".bin"] if settings.allow_pickle else [])]
    return ["*.json", "*.txt", "*.model", *(f"{w}{e}" for w in weights for e in endings)]


def _snapshot(path: str, revision: str | None, patterns: list[str]) -> Path:
    """The hub's files of a model, on this machine; the folder's name is the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model {path!r} is no folder here, and the hub did not give it: {error}. "
            "Check the name, the network, or download it first and give the folder."
        ) from error


def check_folder(settings: DiffusionSettings | OracleSettings) -> Path:
    """The folder of a model, refused if it is half-copied, pickled, or brings code of its own."""
    folder = model_folder(settings)
    index = "model_index.json" if isinstance(settings, DiffusionSettings) else "config.json"
    if not (folder / index).is_file():
        raise ModelError(
            f"model folder {settings.path!r} has no {index}. "
            "Is the copy complete, and is it this kind of model?"
        )
    refuse_code(folder)
    if isinstance(settings, DiffusionSettings):
        check_components(folder, settings.allow_pickle, settings.variant)
    else:
        check_weights(folder, settings.allow_pickle)
    return folder


def fingerprint(folder: Path, below: str = "") -> str:
    """A hash of the names and contents of a model's files under `below`: the same files, the same.

    Documents (README, log) do not count: they change no picture.
    """
    files = (p for p in (folder / below).rglob("*") if p.is_file() and p.suffix in _COUNTED)
    return _hash((p.relative_to(folder).as_posix(), p) for p in sorted(files))


_COUNTED = {".json", ".txt", ".model", ".safetensors"} | PICKLES


def denoiser_folder(denoiser: DenoiserSettings) -> Path:
    """The folder of a UNet or transformer, refused if it is half-copied or brings code."""
    folder = Path(denoiser.path).expanduser()
    if not folder.is_dir():
        _refuse_unless_hub_id(denoiser.path, "denoiser")
        folder = _snapshot(denoiser.path, denoiser.revision, ["*.json", "*.safetensors"])
    refuse_code(folder)
    read_config(folder / "config.json")
    check_weights(folder, allow_pickle=False)
    return folder


def lora_file(lora: LoraSettings) -> Path:
    """The .safetensors file of a LoRA, refused if it is another kind of file or not whole."""
    path = Path(lora.path).expanduser()
    name = lora.file or path.name
    if not name.endswith(".safetensors"):
        raise ModelError(
            f"lora {lora.path!r}: {lora.file or 'no file is named, and'!r} a LoRA is loaded from a "
            ".safetensors file. Give it as `path`, or its folder or hub id as `path` and its name "
            "as `file`. A pickle (.bin, .pt) can run code when loaded: convert it where that does "
            "no harm."
        )
    if lora.file is None and path.is_file():
        file = path
    elif path.is_dir():
        file = path / name
    else:
        _refuse_unless_hub_id(lora.path, "lora")
        file = _snapshot(lora.path, lora.revision, [name]) / name
    if not file.is_file():
        raise ModelError(f"lora {lora.path!r} has no file {name!r}. Is the copy complete?")
    check_file(file)
    return file


def _refuse_unless_hub_id(path: str, what: str) -> None:
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise ModelError(
            f"{what} {path!r} is not here. Give a path that exists, or a hub id such as "
            "'owner/name'."
        )


def files_of(settings: DiffusionSettings | OracleSettings, folder: Path) -> str:
    """A hash of every file that the model is loaded from: of `folder`, and what is put into it."""
    files = [fingerprint(folder)]
    if isinstance(settings, DiffusionSettings):
        if settings.denoiser:
            files.append(fingerprint(denoiser_folder(settings.denoiser)))
        if settings.lora:
            files.append(_hash([("lora", lora_file(settings.lora))]))
    return "+".join(files)


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
    return {k: v for k, v in config.items() if not k.startswith("_")}, _hash(weights)


def pinned(settings: S, folder: Path) -> S:
    """The settings with a path that means the same in every process, for the whole job.

    A folder gets its absolute path; a hub id the commit that `folder`, its snapshot, is of.
    """
    update: dict[str, Any] = _place(settings.path, folder)
    if isinstance(settings, DiffusionSettings):
        if settings.denoiser:
            place = _place(settings.denoiser.path, denoiser_folder(settings.denoiser))
            update["denoiser"] = settings.denoiser.model_copy(update=place)
        if settings.lora:
            file = lora_file(settings.lora)
            if Path(settings.lora.path).expanduser().exists():
                place = {"path": str(file.resolve()), "file": None}
            else:
                depth = len(Path(settings.lora.file or "").parts)
                place = {"revision": file.parents[depth - 1].name}
            update["lora"] = settings.lora.model_copy(update=place)
    return settings.model_copy(update=update)


def _place(path: str, folder: Path) -> dict[str, Any]:
    here = Path(path).expanduser().is_dir()
    return {"path": str(folder.resolve())} if here else {"revision": folder.name}


def _hash(files: Iterable[tuple[str, Path]]) -> str:
    digest = sha256()
    for name, path in files:
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
