"""Checks that a model folder is whole, and that it brings no code of its own.

Looks at files only; nothing here loads a model, so a bad path is refused before an actor starts.
Code that comes with a model is refused and not merely left unused, so that what a folder promises
and what is loaded cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actors.errors import ModelError
from actors.models.file_reader import PICKLES, FileReader

INDEX = "model_index.json"
"""The file of a diffusers pipeline that names its class and its components."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that brings no code of its own, with its configurations, by their relative paths.

    Such as `config.json`, `model_index.json` and `vae/config.json`.
    """

    path: Path
    configs: Mapping[str, dict[str, Any]]

    def config(self, name: str) -> dict[str, Any]:
        """The configuration at the relative path `name`. Raises ModelError if there is none."""
        if name not in self.configs:
            raise ModelError(f"{self.path / name} is not there. Copy the model again.")
        return self.configs[name]

    @property
    def components(self) -> dict[str, tuple[str, str]]:
        """Name -> (library, class) of each component that model_index.json names."""
        return _components(self.configs.get(INDEX, {}))


def open_folder(path: Path, reader: FileReader) -> ModelFolder:
    """Read the configurations of a folder. Raises ModelError if it brings code of its own.

    That is a Python file, or a name of code that is not diffusers' or transformers' (`auto_map`, a
    custom pipeline, a component of another library).
    """
    found = reader.listing(path)
    scripts = [file.relative_to(path).as_posix() for file in found if file.name.endswith(".py")]
    if scripts:
        _refuse_code(path, f"has {scripts[0]!r}")
    files = {f.relative_to(path).as_posix(): f for f in found if f.name.endswith("config.json")}
    index = reader.config(path / INDEX) if (path / INDEX).is_file() else {}
    # A component's folder may be a link, which the listing does not follow.
    for name in _components(index):
        files |= {f"{name}/{file.name}": file for file in (path / name).glob("*config.json")}
    configs = {name: reader.config(file) for name, file in files.items()}
    for name, config in configs.items():
        if "auto_map" in config:
            _refuse_code(path, f"has auto_map in {name!r}")
    if not isinstance(index.get("_class_name", ""), str):
        _refuse_code(path, f"has a pipeline of its own, {index['_class_name']!r}")
    for name, (library, kind) in _components(index).items():
        if not _is_known(library):
            _refuse_code(path, f"takes {name!r} from {library}.{kind}")
    return ModelFolder(path, configs | ({INDEX: index} if index else {}))


def _refuse_code(folder: Path, what: str) -> None:
    raise ModelError(
        f"model folder {str(folder)!r} {what}: code of its own, which is never run here. Use a "
        "model that diffusers and transformers load by themselves."
    )


def _is_known(library: str) -> bool:
    if library in ("diffusers", "transformers"):
        return True
    # Some of diffusers' own are named by their pipeline: ["stable_diffusion", "...SafetyChecker"].
    diffusers = find_spec("diffusers")
    assert diffusers is not None
    assert diffusers.origin is not None
    known = Path(diffusers.origin).parent / "pipelines"
    return library.isidentifier() and (known / library).is_dir()


def _components(index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        name: (str(value[0]), str(value[1]))
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[0] is not None and name[0] != "_"
    }


def check_components(
    folder: ModelFolder, reader: FileReader, allow_pickle: bool, variant: str | None = None
) -> None:
    """Refuse a pipeline if a component, its settings or its weights are missing or not whole."""
    named = folder.components
    if not named:
        raise ModelError(f"{folder.path / INDEX} names no component. Copy the model again.")
    for name, (_, kind) in named.items():
        part = folder.path / name
        if not any(part.glob("*config.json")):
            raise ModelError(
                f"model folder {str(folder.path)!r} has no {name!r} with its settings, which its "
                "model_index.json names. Copy the model again."
            )
        if "Tokenizer" not in kind and f"{name}/config.json" in folder.configs:
            check_weights(part, reader, allow_pickle, variant)


def check_weights(
    folder: Path, reader: FileReader, allow_pickle: bool, variant: str | None = None
) -> None:
    """Refuse a folder whose weights are missing, not whole, or pickled without `allow_pickle`."""
    stem, index_name = ("*", "index") if variant is None else (f"*.{variant}*", f"index.{variant}")
    for index in folder.glob(f"*.safetensors.{index_name}.json"):
        for shard in sorted(set(reader.config(index).get("weight_map", {}).values())):
            if not (folder / shard).is_file():
                raise ModelError(f"{folder / shard} is missing: {index.name} names it. Copy again.")
    weights = sorted(folder.glob(f"{stem}.safetensors"))
    for file in weights:
        reader.check_whole(file)
    if weights or (allow_pickle and any(folder.glob(f"{stem}.bin"))):
        return
    if variant and any(folder.glob("*.safetensors")):
        raise ModelError(
            f"model folder {str(folder)!r} has no weights of the variant {variant!r}. Copy these, "
            "or leave `variant` out."
        )
    pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    kept = f", only {', '.join(pickled[:3])}, which can run code when loaded" if pickled else ""
    raise ModelError(
        f"model folder {str(folder)!r} has no .safetensors weights{kept}. Save it again with "
        "save_pretrained(..., safe_serialization=True)"
        + (", or set allow_pickle: true for a .bin that you trust." if pickled else ".")
    )
