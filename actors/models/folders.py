"""Finds a model's files: from a path or a hub id in a job file to a folder on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from actors.errors import ModelError

MODEL_INDEX = "model_index.json"
"""The file of a diffusers pipeline that names its class and its components."""

DESCRIPTIONS = ("*.json", "*.txt", "*.model")
"""The files of a model's folder that are neither weights nor code."""


def model_folder(
    path: str,
    revision: str | None = None,
    also: Sequence[str] | Callable[[Path], Sequence[str]] = (),
) -> Path:
    """The local folder of a model: its path, or the hub snapshot of its id (downloaded if needed).

    also: patterns of files that are wanted from the hub, beside .safetensors and descriptions; or a
    function that gives all patterns, by a folder that has the repository's model_index.json.
    Raises ModelError if there is neither.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        return local.resolve()
    if local.is_file():
        raise ModelError(
            f"model path {path!r} is one file, and a model is a folder in the format of "
            "diffusers or transformers. A checkpoint in one file is often a pickle, which can run "
            "code when loaded: convert it where that does no harm."
        )
    if not is_hub_id(path):
        raise ModelError(
            f"model path {path!r} is not a folder. Give the folder that holds "
            "model_index.json (or an oracle's config.json), or a hub id such as 'owner/name'."
        )
    if not callable(also):
        return hub_snapshot(path, revision, [*DESCRIPTIONS, "*.safetensors", *also])
    root = hub_snapshot(path, revision, [MODEL_INDEX])
    if not (root / MODEL_INDEX).is_file():
        return root
    return hub_snapshot(path, root.name, [MODEL_INDEX, *also(root)])


def part_folder(path: str, revision: str | None, what: str, patterns: Sequence[str]) -> Path:
    """The local folder of a part that is put into a pipeline, as `model_folder` finds a model's.

    what: its field in the job file, for messages.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        return local.resolve()
    if not is_hub_id(path):
        raise ModelError(
            f"{what} {path!r} is not here. Give a path that exists, or a hub id such as "
            "'owner/name'."
        )
    return hub_snapshot(path, revision, patterns)


def is_hub_id(path: str) -> bool:
    """Whether this has the form of a hub id, 'owner/name'."""
    return not path.startswith((".", "/", "~")) and path.count("/") == 1


def hub_snapshot(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The files of a hub model that match, downloaded if needed. Raises ModelError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        snapshot = snapshot_download(name, revision=revision, allow_patterns=list(patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model {name!r} is no folder here, and {_why_not(name, revision, error)}."
        ) from error
    return Path(snapshot)


GIVE_A_TOKEN = "log in with `hf auth login`, or set HF_TOKEN"
"""How the hub learns who asks, in Bottega as in every other program."""


def _why_not(name: str, revision: str | None, error: Exception) -> str:
    """Why the hub did not give a model, and what to do: the end of a sentence."""
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if is_offline_mode():
        return (
            "it was not fetched before HF_HUB_OFFLINE was set: fetch it where there is a network "
            "(`hf download`), or give a folder"
        )
    if isinstance(error, GatedRepoError):
        page = f"https://huggingface.co/{name}"
        return f"it is gated: accept its terms on {page}, then {GIVE_A_TOKEN}"
    if isinstance(error, RevisionNotFoundError):
        return f"the hub has no revision {revision!r} of it: correct `revision`, or leave it out"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has none of this name: correct it, or, if it is private, {GIVE_A_TOKEN}"
    if isinstance(error, HFValidationError):
        return "this is no name of the hub, which are of the form 'owner/name': correct it"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, HfHubHTTPError) and status:
        return f"the hub answered with status {status}: try again later"
    return (
        "the hub cannot be reached: look at the network, or fetch it elsewhere and give the folder"
    )


def pinned(path: str, folder: Path) -> dict[str, str]:
    """The settings' fields with which every process of the job finds the same files.

    `path` with a folder of this machine made absolute; or `revision` with the commit that `folder`,
    a snapshot of the hub, is of.
    """
    if Path(path).expanduser().is_dir():
        return {"path": str(folder.resolve())}
    return {"revision": folder.name}
