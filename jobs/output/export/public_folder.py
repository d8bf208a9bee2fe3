"""Publishes to a folder or a bucket: parts as they are, and their hashes in `checksums.json`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from actors.errors import OutputError
from jobs.output.export.claim import claim
from jobs.output.export.destination import ANOTHER, MARKER, PartToSend, refuse_changed
from jobs.output.folder import OutputFolder
from jobs.parquet_writing import Hashed
from jobs.storage.storage import Storage

CHECKSUMS = "checksums.json"
"""The hash of each file: for readers, and for a publication that goes on."""


class PublicFolder:
    """See `jobs.output.export.destination.Destination`."""

    def __init__(self, storage: Storage) -> None:
        self.url = storage.url
        self._storage = storage
        self._sent: dict[str, str] = {}

    def claim(self, marker: bytes) -> None:
        """Put the marker there, before any part."""
        claim(self._storage, MARKER, marker, ANOTHER)

    def there(self) -> dict[str, str]:
        """The files that are listed, with the hash that was written after each."""
        entries = {entry.path for entry in self._storage.entries("data")}
        known = self._noted()
        self._sent = {name: str(known.get(name, "")) for name in sorted(entries)}
        return dict(self._sent)

    def _noted(self) -> dict[str, Any]:
        if self._storage.find(CHECKSUMS) is None:
            return {}
        try:
            noted = json.loads(self._storage.get(CHECKSUMS))
        except (ValueError, RecursionError):
            noted = None
        if not isinstance(noted, dict):
            raise OutputError(
                f"{self._storage.name_of(CHECKSUMS)} is damaged. Remove it, and publish again: "
                "every part is sent anew."
            )
        return noted

    def send(self, folder: OutputFolder, parts: Sequence[PartToSend]) -> None:
        """Copy parts, and then note their hashes."""
        for part in parts:
            entry = folder.storage.find(part.name)
            refuse_changed(part, part.sha256 if entry else None)
            assert entry is not None
            with folder.storage.open(entry) as source, self._storage.writing(part.name) as file:
                hashed: Any = Hashed(file)
                shutil.copyfileobj(source, hashed, 2**20)
                refuse_changed(part, hashed.digest.hexdigest())
            self._sent[part.name] = part.sha256
        self._note()

    def finish(self, pages: Mapping[str, bytes]) -> None:
        """Put the pages beside the parts."""
        self._note()
        for name, content in pages.items():
            self._storage.put(name, content)

    def _note(self) -> None:
        content = json.dumps(self._sent, indent=1, sort_keys=True).encode() + b"\n"
        self._storage.put(CHECKSUMS, content)
