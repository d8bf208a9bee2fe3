"""Reads the files of models, each of them once, and hashes them.

`checks`, `pipeline_files` and `oracles.oracle_files` decide which files a model needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from actors.errors import ModelError

PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}

WEIGHTS = {".safetensors"} | PICKLES

HASHED = {".json", ".txt", ".model"} | WEIGHTS
"""The files that a picture depends on; documents (README, log) change none."""

_SHA256 = re.compile("[0-9a-f]{64}")


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
        _check_file(file)
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is not whole: {error}. Copy the model again.") from error
        self._whole.add(file)

    def fingerprint(self, folder: Path) -> str:
        """A hash of the names and contents of all files in a folder, the same for the same files.

        Of an oracle's or a network's folder; `checks.loaded_files` are those of a pipeline.
        """
        files = (p for p in self.listing(folder) if p.suffix in HASHED and p.is_file())
        return self.hash_files((p.relative_to(folder).as_posix(), p) for p in files)

    def hash_files(self, files: Iterable[tuple[str, Path]]) -> str:
        """A hash of the names, sizes and contents of files."""
        digest = sha256()
        for name, path in files:
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            digest.update(self._digest(path))
        return digest.hexdigest()[:16]

    def hash_contents(self, files: Iterable[Path]) -> str:
        """A hash of the contents of files, whatever they are called."""
        return joined(self._digest(file).hex() for file in files)

    def hash_tensors(self, files: Iterable[Path]) -> str:
        """A hash of the tensors in .safetensors files, however they are spread and called.

        The same for one file and its shards, and whatever remarks the files have.
        """
        found: list[tuple[str, str]] = []
        for file in files:
            if file.suffix != ".safetensors":
                found.append(("", self._digest(file).hex()))
                continue
            with file.open("rb") as opened:
                header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
                begin = opened.tell()
                for name, tensor in header.items():
                    if name != "__metadata__":
                        first, end = tensor["data_offsets"]
                        opened.seek(begin + first)
                        content = sha256(opened.read(end - first)).hexdigest()
                        found.append((name, f"{tensor['dtype']} {tensor['shape']} {content}"))
        return sha256(repr(sorted(found)).encode()).hexdigest()[:16]

    def _digest(self, path: Path) -> bytes:
        if path not in self._digests:
            _check_file(path)
            blob = path.resolve()
            if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
                # The hub's cache names a large file by this hash, and checks it when it is fetched.
                self._digests[path] = bytes.fromhex(blob.name)
            else:
                with path.open("rb") as file:
                    self._digests[path] = file_digest(file, "sha256").digest()
        return self._digests[path]


def read_config(file: Path) -> dict[str, Any]:
    """The object in a model's JSON file. Raises ModelError if it is not whole."""
    return _read_config(file)[1]


def _read_config(file: Path) -> tuple[bytes, dict[str, Any]]:
    """The file's bytes, and the object in them."""
    _check_file(file)
    try:
        content = file.read_bytes()
        found = json.loads(content.decode("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read: {error}. Copy the model again.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file} is not a JSON object. Copy the model again.")
    return content, found


def _check_file(file: Path) -> None:
    """Refuse what is there and is no file: who opens a pipe waits for ever."""
    if file.exists() and not file.is_file():
        raise ModelError(f"{file} is no file, and a model's file should be. Copy the model again.")


def joined(hashes: Iterable[str]) -> str:
    """One hash of several."""
    return sha256("\0".join(hashes).encode()).hexdigest()[:16]
