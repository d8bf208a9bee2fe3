"""Reads the files of models, each of them once, and hashes them.

`checks`, `pipeline_files` and `oracles.oracle_files` decide which files a model needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from actors.errors import ModelError

PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}

_HASHED = {".json", ".txt", ".model", ".safetensors"} | PICKLES


class FileReader:
    """Remembers what it has read, so that models which share a file share the reading of it.

    A LoRA student and its teacher are one pipeline of several gigabytes: hashed once. A reader
    lives for one resolve of a job, since the files may change after that.
    """

    def __init__(self) -> None:
        self._listings: dict[Path, list[Path]] = {}
        self._configs: dict[Path, dict[str, Any]] = {}
        self._digests: dict[Path, bytes] = {}
        self._whole: set[Path] = set()

    def listing(self, folder: Path) -> list[Path]:
        """Everything in a folder and below it, sorted; links to folders are not followed."""
        if folder not in self._listings:
            self._listings[folder] = sorted(folder.rglob("*"))
        return self._listings[folder]

    def config(self, file: Path) -> dict[str, Any]:
        """The object in a JSON file. Raises ModelError if it is not whole."""
        if file not in self._configs:
            content, self._configs[file] = _read_config(file)
            self._digests[file] = sha256(content).digest()
        return self._configs[file]

    def check_whole(self, file: Path) -> None:
        """Refuse a .safetensors file that is cut off: its header does not fit its size."""
        if file in self._whole:
            return
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is not whole: {error}. Copy the model again.") from error
        self._whole.add(file)

    def fingerprint(self, folder: Path) -> str:
        """A hash of the names and contents of a model's files, the same for the same files.

        Documents (README, log) do not count: they change no picture.
        """
        files = (p for p in self.listing(folder) if p.suffix in _HASHED and p.is_file())
        return self.hash_files((p.relative_to(folder).as_posix(), p) for p in files)

    def weight_bytes(self, folder: Path) -> int:
        """Bytes of a model's weights; where it has them in several precisions, of all of them."""
        weights = PICKLES | {".safetensors"}
        files = (p for p in self.listing(folder) if p.suffix in weights and p.is_file())
        return sum(file.stat().st_size for file in files)

    def hash_files(self, files: Iterable[tuple[str, Path]]) -> str:
        """A hash of the names, sizes and contents of files."""
        digest = sha256()
        for name, path in files:
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            digest.update(self._digest(path))
        return digest.hexdigest()[:16]

    def _digest(self, path: Path) -> bytes:
        if path not in self._digests:
            with path.open("rb") as file:
                self._digests[path] = file_digest(file, "sha256").digest()
        return self._digests[path]


def read_config(file: Path) -> dict[str, Any]:
    """The object in a model's JSON file. Raises ModelError if it is not whole."""
    return _read_config(file)[1]


def _read_config(file: Path) -> tuple[bytes, dict[str, Any]]:
    """The file's bytes, and the object in them."""
    try:
        content = file.read_bytes()
        found = json.loads(content.decode("utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{file} cannot be read: {error}. Copy the model again.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file} is not a JSON object. Copy the model again.")
    return content, found


def joined(hashes: Iterable[str]) -> str:
    """One hash of several."""
    return sha256("\0".join(hashes).encode()).hexdigest()[:16]
