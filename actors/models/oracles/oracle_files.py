"""Finds and checks all files of an oracle.

Loads no weights, so that a bad path is refused before an actor starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar
from zipfile import is_zipfile

from actors.errors import ModelError
from actors.models.checks import check_weights, open_folder
from actors.models.file_reader import FileReader, joined
from actors.models.folders import hub_snapshot, model_folder, pinned
from actors.models.oracles.own import find_class, source_hash
from actors.settings import ExtraScoreSettings, MemberSettings, OracleSettings, ScorerSettings

AESTHETIC_HEAD = "aesthetic.safetensors"
MED_CONFIG = "med_config.json"
REWARD_WEIGHTS = ("ImageReward.safetensors", "ImageReward.pt")
BERT = "google-bert/bert-base-uncased"
"""The hub id of the tokenizer that ImageReward uses."""

S = TypeVar("S", bound=ScorerSettings)
S_co = TypeVar("S_co", bound=ScorerSettings, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleFiles(Generic[S_co]):
    """An oracle's files, found and checked.

    `settings`: with paths and revisions that mean the same in every process. `folders`: the
    model's, and after it that of ImageReward's tokenizer where this is another. `source`: the hash
    of the source file of a class of the user's own. `members`: of an ensemble.
    """

    settings: S_co
    folders: tuple[Path, ...] = ()
    source: str | None = None
    members: tuple[OracleFiles[MemberSettings], ...] = ()
    extras: tuple[OracleFiles[ExtraScoreSettings], ...] = ()

    @property
    def folder(self) -> Path:
        """The model's folder; an ensemble has none."""
        return self.folders[0]

    @property
    def tokenizer(self) -> Path:
        """The folder of ImageReward's tokenizer."""
        return self.folders[-1]

    def fingerprint(self, reader: FileReader) -> str:
        """A hash of all that the scores come from; it reads every byte of it.

        Behind a "+" is that of the extra scores, which decide nothing.
        """
        if self.extras:
            return f"{self._own(reader)}+{joined(one.fingerprint(reader) for one in self.extras)}"
        return self._own(reader)

    def _own(self, reader: FileReader) -> str:
        if self.members:
            return joined(member.fingerprint(reader) for member in self.members)
        hashes = [self.source] if self.source else []
        hashes += [reader.fingerprint(folder) for folder in self.folders]
        return hashes[0] if len(hashes) == 1 else joined(hashes)


def open_oracle_files(settings: S, reader: FileReader | None = None) -> OracleFiles[S]:
    """Find an oracle's files; refuse those that are half-copied, pickled, or bring their own code.

    Raises ModelError.
    """
    reader = reader or FileReader()
    files = _open_one(settings, reader)
    if not isinstance(settings, OracleSettings) or not settings.extras:
        return files
    extras = tuple(open_oracle_files(extra, reader) for extra in settings.extras)
    found, count = [extra.settings for extra in extras], len(settings.extra_scores)
    update = {"extra_scores": tuple(found[:count]), "filters": tuple(found[count:])}
    return replace(files, settings=files.settings.model_copy(update=update), extras=extras)


def _open_one(settings: S, reader: FileReader) -> OracleFiles[S]:
    """Without the extra scores."""
    if isinstance(settings, OracleSettings) and settings.members:
        members = tuple(open_oracle_files(member, reader) for member in settings.members)
        update = {"members": tuple(member.settings for member in members)}
        return OracleFiles(settings=settings.model_copy(update=update), members=members)
    if settings.is_own:
        return _open_own(settings)
    folder = _open_model(settings, reader)
    folders = [folder]
    if settings.kind == "image-reward" and not _has_tokenizer(folder):
        names = ["vocab.txt", "tokenizer.json", "tokenizer_config.json"]
        folders.append(hub_snapshot(BERT, None, names))
    settings = settings.model_copy(update=pinned(settings.path, folder))
    return OracleFiles(settings=settings, folders=tuple(folders))


def _open_own(settings: S) -> OracleFiles[S]:
    source = source_hash(find_class(settings.kind))
    own = settings.model_copy(update={"revision": source})
    if not settings.path:
        return OracleFiles(settings=own, source=source)
    folder = model_folder(settings.path)
    own = own.model_copy(update={"path": str(folder.resolve())})
    return OracleFiles(settings=own, source=source, folders=(folder,))


def _open_model(settings: ScorerSettings, reader: FileReader) -> Path:
    is_reward = settings.kind == "image-reward"
    also = [*(["*.bin"] if settings.allow_pickle else []), *(REWARD_WEIGHTS if is_reward else [])]
    folder = model_folder(settings.path, settings.revision, also)
    index = MED_CONFIG if is_reward else "config.json"
    if not (folder / index).is_file():
        raise ModelError(
            f"model folder {settings.path!r} has no {index}. "
            f"Is the copy complete, and is it a model of kind {settings.kind!r}?"
        )
    open_folder(folder, reader)
    if is_reward:
        _check_reward(reward_weights(folder), reader)
    else:
        check_weights(folder, reader, settings.allow_pickle)
    if settings.kind == "classifier":
        label_number(reader.config(folder / index).get("id2label") or {}, settings)
    if settings.kind == "aesthetic" and not (folder / AESTHETIC_HEAD).is_file():
        raise ModelError(
            f"model folder {settings.path!r} has no {AESTHETIC_HEAD}, the head on top of CLIP. "
            "docs/oracles.md says how to make it."
        )
    return folder


def label_number(labels: Mapping[Any, str], settings: ScorerSettings) -> int:
    """The number of the settings' label among a classifier's. Raises ModelError.

    labels: by number, the `id2label` of its config.json.
    """
    for number, label in labels.items():
        if label == settings.label:
            return int(number)
    raise ModelError(
        f"classifier {settings.path!r} has no label {settings.label!r}. It has: "
        f"{', '.join(sorted(labels.values())) or 'none, so it is no classifier of pictures'}."
    )


def reward_weights(folder: Path) -> Path:
    """ImageReward's weights: as .safetensors if they are there, else as they are published."""
    for name in REWARD_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(
        f"model folder {str(folder)!r} has no {' or '.join(REWARD_WEIGHTS)}. Is the copy complete?"
    )


def _check_reward(file: Path, reader: FileReader) -> None:
    if file.suffix == ".safetensors":
        check_weights(file.parent, reader, allow_pickle=False)
        return
    with file.open("rb") as opened:
        start = opened.read(2)
    # torch saves zip archives, whose table of contents is at the end; before 1.6, bare pickles.
    if not (is_zipfile(file) if start == b"PK" else start[:1] == b"\x80"):
        raise ModelError(f"{file} is not whole. Copy the model again.")


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("vocab.txt", "tokenizer.json"))
