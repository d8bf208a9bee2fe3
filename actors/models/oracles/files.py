"""What an oracle is loaded from: is it all there, is it safe, and which bytes are they?

Looks at files only, so that a bad path is refused before an actor starts.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TypeVar
from zipfile import is_zipfile

from actors.errors import ModelError
from actors.models.checks import check_weights, refuse_code
from actors.models.folders import fingerprint, hub_snapshot, model_folder, pinned
from actors.models.oracles.own import find_class, source_hash
from actors.settings import MemberSettings, OracleSettings, ScorerSettings

AESTHETIC_HEAD = "aesthetic.safetensors"
MED_CONFIG = "med_config.json"
REWARD_WEIGHTS = ("ImageReward.safetensors", "ImageReward.pt")
BERT = "google-bert/bert-base-uncased"
"""Whose tokenizer ImageReward uses."""

S = TypeVar("S", OracleSettings, MemberSettings)


def resolved(settings: S) -> tuple[S, str]:
    """The settings with paths that mean the same in every process, and a hash of all that the
    scores come from: files of models, or the source file of a class.

    Raises ModelError.
    """
    if settings.kind == "ensemble":
        assert isinstance(settings, OracleSettings)
        members, hashes = zip(*(resolved(member) for member in settings.members), strict=True)
        return settings.model_copy(update={"members": members}), _joined(hashes)
    if settings.is_own:
        source = source_hash(find_class(settings.kind))
        own = settings.model_copy(update={"revision": source})
        if not settings.path:
            return own, source
        folder = model_folder(settings.path)
        return own.model_copy(update={"path": str(folder.resolve())}), _joined(
            (source, fingerprint(folder))
        )
    folder = check_scorer(settings)
    files = fingerprint(folder)
    if settings.kind == "image-reward" and tokenizer_folder(folder) != folder:
        files = _joined((files, fingerprint(tokenizer_folder(folder))))
    return pinned(settings, folder), files


def check_scorer(settings: ScorerSettings) -> Path:
    """The folder of a model, refused if it is half-copied, pickled, or brings code of its own."""
    is_reward = settings.kind == "image-reward"
    also = [*(["*.bin"] if settings.allow_pickle else []), *(REWARD_WEIGHTS if is_reward else [])]
    folder = model_folder(settings.path, settings.revision, also)
    index = MED_CONFIG if is_reward else "config.json"
    if not (folder / index).is_file():
        raise ModelError(
            f"model folder {settings.path!r} has no {index}. "
            f"Is the copy complete, and is it a model of kind {settings.kind!r}?"
        )
    refuse_code(folder)
    if is_reward:
        _check_reward(reward_weights(folder))
    else:
        check_weights(folder, settings.allow_pickle)
    if settings.kind == "aesthetic" and not (folder / AESTHETIC_HEAD).is_file():
        raise ModelError(
            f"model folder {settings.path!r} has no {AESTHETIC_HEAD}, the head on top of CLIP. "
            "docs/oracles.md says how to make it."
        )
    return folder


def reward_weights(folder: Path) -> Path:
    """ImageReward's weights: as .safetensors if they are there, else as they are published."""
    for name in REWARD_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(
        f"model folder {str(folder)!r} has no {' or '.join(REWARD_WEIGHTS)}. Is the copy complete?"
    )


def _check_reward(file: Path) -> None:
    if file.suffix == ".safetensors":
        check_weights(file.parent, allow_pickle=False)
        return
    with file.open("rb") as opened:
        start = opened.read(2)
    # torch saves zip archives, whose table of contents is at the end; before 1.6, bare pickles.
    if not (is_zipfile(file) if start == b"PK" else start[:1] == b"\x80"):
        raise ModelError(f"{file} is not whole. Copy the model again.")


def tokenizer_folder(folder: Path) -> Path:
    """Where ImageReward's tokenizer is: with its weights, or BERT's on the hub."""
    if any((folder / name).is_file() for name in ("vocab.txt", "tokenizer.json")):
        return folder
    return hub_snapshot(BERT, None, ["vocab.txt", "tokenizer.json", "tokenizer_config.json"])


def _joined(hashes: tuple[str, ...]) -> str:
    return sha256("\0".join(hashes).encode()).hexdigest()[:16]
