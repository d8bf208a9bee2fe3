"""Checks that a model folder is whole, and that it brings no code of its own.

Looks at files only; nothing here loads a model, so a bad path is refused before an actor starts.
Code that comes with a model is refused and not merely left unused, so that what a folder promises
and what is loaded cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import Any

from actors.errors import ModelError
from actors.models.file_reader import HASHED, PICKLES, WEIGHTS, FileReader
from actors.models.folders import MODEL_INDEX

INDEX = MODEL_INDEX

NOT_LOADED = frozenset({"safety_checker"})
"""Components that are never loaded: Stable Diffusion 1's safety checker blackens pictures, and the
oracle has to see what was drawn."""


_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


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
        return components_of(self.configs.get(INDEX, {}))


def open_folder(path: Path, reader: FileReader) -> ModelFolder:
    """Read the configurations of a folder. Raises ModelError if it names code of its own.

    That is code which is not diffusers' or transformers': `auto_map`, a custom pipeline, a
    component of another library or a pipeline of its own, a kernel of the hub. A Python file that
    nothing names is never read (`handler.py` of the model's authors).
    """
    found = reader.listing(path)
    files = {f.relative_to(path).as_posix(): f for f in found if f.name.endswith("config.json")}
    index = reader.config(path / INDEX) if (path / INDEX).is_file() else {}
    _check_index(path, index)
    # A component's folder may be a link, which the listing does not follow.
    for name in components_of(index):
        files |= {f"{name}/{file.name}": file for file in (path / name).glob("*config.json")}
    configs = {name: reader.config(file) for name, file in files.items()}
    for name, config in configs.items():
        _check_config(path, name, config)
    if not isinstance(index.get("_class_name", ""), str):
        _refuse_code(path, f"has a pipeline of its own, {index['_class_name']!r}")
    for name, (library, kind) in components_of(index).items():
        if not _is_known(library):
            _refuse_code(path, f"takes {name!r} from {library}.{kind}")
        # diffusers takes a file of this name for the library's.
        if (script := path / name / f"{library}.py").exists():
            _refuse_code(path, f"has {script.relative_to(path).as_posix()!r} for {name!r}")
        if "Pipeline" in kind:
            _refuse_code(path, f"has a pipeline of its own for {name!r}, {kind}")
    return ModelFolder(path, configs | ({INDEX: index} if index else {}))


def _check_index(path: Path, index: dict[str, Any]) -> None:
    """Refuse a list in model_index.json that is no component, and a component outside of it."""
    for name, value in index.items():
        if not isinstance(value, list) or name.startswith("_"):
            continue
        pair = len(value) == 2 and all(one is None or isinstance(one, str) for one in value)
        if not pair or not name.isidentifier():
            raise ModelError(
                f"{path / INDEX}: {name!r}: {str(value)[:100]} is no component, which has the "
                "name of a folder, a library and a class. Copy the model again."
            )


def _check_config(path: Path, name: str, config: dict[str, Any]) -> None:
    """Refuse code that a configuration names, and numbers that are none, at whatever depth."""
    todo: list[tuple[str, Any]] = [("", config)]
    while todo:
        where, value = todo.pop()
        if isinstance(value, float) and isnan(value):
            raise ModelError(f"{path / name}: {where}: NaN is no number. Copy the model again.")
        if isinstance(value, list):
            todo += [(where, inner) for inner in value]
        elif isinstance(value, dict):
            todo += [(f"{where}.{key}".lstrip("."), inner) for key, inner in value.items()]
            if "auto_map" in value:
                _refuse_code(path, f"has auto_map in {name!r}")
            for key, inner in value.items():
                # transformers fetches a kernel from the hub by such a name.
                if "attn_implementation" in key and "/" in str(inner):
                    _refuse_code(path, f"has the kernel {inner!r} in {name!r}")


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


def components_of(index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Name -> (library, class) of each component in the content of a model_index.json."""
    return {
        name: (str(value[0]), str(value[1]))
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[0] is not None and name[0] != "_"
    }


def loaded_files(
    folder: Path, reader: FileReader, variant: str | None = None, without: Collection[str] = ()
) -> list[tuple[str, Path]]:
    """Name and path of each file that is loaded from a pipeline's folder, or from a network's.

    Of a pipeline: the components that model_index.json names, also where they are links, and not
    the rest of a repository. Of each folder the weights of one kind (`loaded_weights`). without:
    components that others take the place of.
    """
    if (folder / INDEX).is_file():
        names = set(components_of(reader.config(folder / INDEX))) - NOT_LOADED - set(without)
        found = [folder / INDEX]
        found += [file for name in names for file in reader.listing(folder / name)]
    else:
        found = reader.listing(folder)
    kept = {file for file in found if file.suffix in HASHED - WEIGHTS}
    for part in {file.parent for file in found if file.suffix in WEIGHTS}:
        kept.update(loaded_weights(part, variant))
    return [(p.relative_to(folder).as_posix(), p) for p in sorted(kept) if p.is_file()]


def loaded_weights(folder: Path, variant: str | None = None) -> list[Path]:
    """The weights in a folder that diffusers loads: safetensors before pickles, of one variant.

    All of a kind where none is called as the variant wants it.
    """
    for suffixes in ({".safetensors"}, PICKLES):
        files = sorted(file for file in folder.iterdir() if file.suffix in suffixes)
        if files:
            return [file for file in files if _variant(file.name) == (variant or "")] or files
    return []


def _variant(name: str) -> str:
    """`fp16` of model.fp16.safetensors and model.fp16-00001-of-00002.safetensors; "" of others."""
    middle = name.split(".")[1:-1]
    return _SHARD.sub("", middle[0]) if middle else ""


def check_components(
    folder: ModelFolder,
    reader: FileReader,
    allow_pickle: bool,
    variant: str | None = None,
    without: Collection[str] = (),
) -> None:
    """Refuse a pipeline if a component, its settings or its weights are missing or not whole.

    without: components whose weights are not loaded, since others take their place.
    """
    named = {name: kind for name, kind in folder.components.items() if name not in NOT_LOADED}
    if not named:
        raise ModelError(f"{folder.path / INDEX} names no component. Copy the model again.")
    for name, (_, kind) in named.items():
        part = folder.path / name
        if not any(part.glob("*config.json")):
            raise ModelError(
                f"model folder {str(folder.path)!r} has no {name!r} with its settings, which its "
                "model_index.json names. Copy the model again."
            )
        is_loaded = "Tokenizer" not in kind and name not in without
        if is_loaded and f"{name}/config.json" in folder.configs:
            check_weights(part, reader, allow_pickle, variant)


def _shards(index: Path, reader: FileReader) -> list[str]:
    """The files that an index of weights names. Raises ModelError for an index that is none."""
    named = reader.config(index).get("weight_map", {})
    shards = list(named.values()) if isinstance(named, dict) else [named]
    if not all(isinstance(shard, str) for shard in shards) or not isinstance(named, dict):
        raise ModelError(f"{index}: weight_map does not name a file for each weight. Copy again.")
    outside = [shard for shard in shards if Path(shard).name != shard]
    if outside:
        raise ModelError(f"{index} names {outside[0]!r}, which is no file beside it. Copy again.")
    return sorted(set(shards))


def check_weights(
    folder: Path, reader: FileReader, allow_pickle: bool, variant: str | None = None
) -> None:
    """Refuse a folder whose weights are missing, not whole, or pickled without `allow_pickle`."""
    stem, index_name = ("*", "index") if variant is None else (f"*.{variant}*", f"index.{variant}")
    for index in folder.glob(f"*.safetensors.{index_name}.json"):
        for shard in _shards(index, reader):
            if not (folder / shard).is_file():
                raise ModelError(f"{folder / shard} is missing: {index.name} names it. Copy again.")
    weights = [f for f in loaded_weights(folder, variant) if f.match(f"{stem}.safetensors")]
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
