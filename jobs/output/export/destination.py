"""A place where datasets are published, and what every such place promises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.errors import OutputError
from jobs.output.folder import OutputFolder

MARKER = "publication.json"
"""Which dataset a place is of. It goes there with the first parts, or before them; a card that
said it would come too late, as the card is the last."""

ANOTHER = "the publication of another dataset"


def marker_of(dataset_id: str) -> bytes:
    """The content of the marker: the same for the same dataset, however it grew."""
    return json.dumps({"format": 1, "dataset_id": dataset_id}, indent=2).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class PartToSend:
    """A part: its name in both places, bytes and hash as its record has them."""

    name: str
    num_bytes: int
    sha256: str


class Destination(Protocol):
    """A place where a dataset is published. Methods raise StorageError."""

    url: str

    def claim(self, marker: bytes) -> None:
        """Refuse, by OutputError, a place that holds something and not this marker."""
        ...

    def there(self) -> dict[str, str]:
        """By name, the hashes of the files below `data/` that are there whole."""
        ...

    def send(self, folder: OutputFolder, parts: Sequence[PartToSend]) -> None:
        """Put parts in place, whose bytes have their hashes; or raise OutputError."""
        ...

    def finish(self, pages: Mapping[str, bytes]) -> None:
        """Put the card and its pictures in place."""
        ...


def refuse_changed(part: PartToSend, found: str | None) -> None:
    """Raise OutputError for a part whose bytes are not those of its record. found: their hash."""
    if found != part.sha256:
        raise OutputError(
            f"{part.name} has not the bytes of its record. `bottega verify` says what to do."
        )
