"""Publishes to a folder or a bucket: parts as they are, and their hashes in `checksums.json`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.output.export.destination import PartToSend, refuse_changed
from jobs.output.folder import OutputFolder
from jobs.output.writer import Hashed
from jobs.storage.storage import Storage

CHECKSUMS = "checksums.json"
"""The hash of each file: for readers, and for a publication that goes on."""


class PublicFolder:
    """See `jobs.output.export.destination.Destination`."""

    def __init__(self, storage: Storage) -> None:
        self.url = storage.url
        self._storage = storage
        self._sent: dict[str, str] = {}

    def there(self) -> dict[str, str]:
        """The files that are listed, with the hash that was written after each."""
        entries = {entry.path for entry in self._storage.entries("data")}
        known: dict[str, Any] = {}
        if self._storage.find(CHECKSUMS):
            known = json.loads(self._storage.get(CHECKSUMS))
        self._sent = {name: str(known.get(name, "")) for name in sorted(entries)}
        return dict(self._sent)

    def send(self, folder: OutputFolder, parts: Sequence[PartToSend]) -> None:
        """Copy parts, and then note their hashes."""
        self._storage.create()
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
        self._storage.create()
        self._note()
        for name, content in pages.items():
            self._storage.put(name, content)

    def _note(self) -> None:
        content = json.dumps(self._sent, indent=1, sort_keys=True).encode() + b"\n"
        self._storage.put(CHECKSUMS, content)
