"""Is a model folder whole, and does loading it run nobody's code?

Looks at files only. Code that comes with a model is refused and not merely left unused, so that
what a folder promises and what is loaded cannot differ.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from actors.errors import ModelError

PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}


def read_config(file: Path) -> dict[str, Any]:
    """A model's JSON file. Raises ModelError if it is not whole."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{file} cannot be read: {error}. Copy the model again.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file} is not a JSON object. Copy the model again.")
    return found


def refuse_code(folder: Path) -> None:
    """Refuse a model that brings code of its own, or names code that is not diffusers' or
    transformers' (`auto_map`, a custom pipeline, a component of another library)."""
    scripts = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.py"))
    if scripts:
        _refuse_code(folder, f"has {scripts[0]!r}")
    for file in sorted(folder.rglob("*config.json")):
        if "auto_map" in read_config(file):
            _refuse_code(folder, f"has auto_map in {file.relative_to(folder).as_posix()!r}")
    index = folder / "model_index.json"
    if not index.is_file():
        return
    pipeline = read_config(index)
    if not isinstance(pipeline.get("_class_name", ""), str):
        _refuse_code(folder, f"has a pipeline of its own, {pipeline['_class_name']!r}")
    for name, (library, kind) in components(pipeline).items():
        if not _is_known(library):
            _refuse_code(folder, f"takes {name!r} from {library}.{kind}")


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


def components(pipeline: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Name -> (library, class) of what a model_index.json names."""
    return {
        name: (str(value[0]), str(value[1]))
        for name, value in pipeline.items()
        if isinstance(value, list) and len(value) == 2 and value[0] is not None and name[0] != "_"
    }


def check_components(folder: Path, allow_pickle: bool, variant: str | None = None) -> None:
    """Refuse a pipeline of which a component, its settings or its weights are not there whole."""
    named = components(read_config(folder / "model_index.json"))
    if not named:
        raise ModelError(f"{folder / 'model_index.json'} names no component. Copy the model again.")
    for name, (_, kind) in named.items():
        part = folder / name
        if not any(part.glob("*config.json")):
            raise ModelError(
                f"model folder {str(folder)!r} has no {name!r} with its settings, which its "
                "model_index.json names. Copy the model again."
            )
        if "Tokenizer" not in kind and (part / "config.json").is_file():
            check_weights(part, allow_pickle, variant)


def check_weights(folder: Path, allow_pickle: bool, variant: str | None = None) -> None:
    """Refuse a folder whose weights are missing, not whole, or pickled without `allow_pickle`."""
    stem, index_name = ("*", "index") if variant is None else (f"*.{variant}*", f"index.{variant}")
    for index in folder.glob(f"*.safetensors.{index_name}.json"):
        for shard in sorted(set(read_config(index).get("weight_map", {}).values())):
            if not (folder / shard).is_file():
                raise ModelError(f"{folder / shard} is missing: {index.name} names it. Copy again.")
    weights = sorted(folder.glob(f"{stem}.safetensors"))
    for file in weights:
        check_file(file)
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


def check_file(file: Path) -> None:
    """Refuse a .safetensors file that is not whole."""
    try:
        with safe_open(file, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is not whole: {error}. Copy the model again.") from error
