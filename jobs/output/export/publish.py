"""Publishes a finished dataset: a marker, its parts, then the card that makes them one.

    hub_repository.py   a dataset repository of the Hugging Face hub
    public_folder.py    a folder or a bucket

Parts that are there already, with the hash in their record, are not sent again; so a publication
that was interrupted goes on. The card and its grid of pictures come last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from actors.counted import counted
from actors.errors import OutputError
from jobs.output.export.destination import PartToSend, marker_of
from jobs.output.export.destination_at import destination_at
from jobs.output.export.export import complete_records
from jobs.output.export.public_card import PublicCard, local_paths, public_card
from jobs.output.folder import OutputFolder
from jobs.output.job_file import dataset_id
from jobs.output.pages.contact_sheet import make_sheet

BATCH_PARTS = 25
BATCH_BYTES = 10e9
"""Of one step of a publication, which is one commit of the hub: it wants few, of up to 100 files. A
step that is cut short is sent again, but for the files that the hub has already."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A dataset that is ready to be published. `warnings`: for whoever decides."""

    folder: OutputFolder
    card: PublicCard
    parts: Sequence[PartToSend]
    warnings: Sequence[str]

    @property
    def num_bytes(self) -> int:
        """Of all parts."""
        return sum(part.num_bytes for part in self.parts)

    def send_to(
        self,
        place: str,
        public: bool = False,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> int:
        """Send what is not there; returns how many parts were sent.

        place: hf://datasets/ORG/NAME, a bucket's URL, or a folder. public: who may see a repository
        that is made. on_step: called with what is sent next.
        Raises OutputError where the place holds anything that is not this dataset's, or a part is
        not as its record says; StorageError where the place fails: the same call goes on.
        """
        destination = destination_at(place, public)
        if f"{destination.url}/".startswith(f"{self.folder.url}/"):
            raise OutputError(f"{place!r} is the output itself, or in it. Choose another place.")
        destination.claim(marker_of(dataset_id(self.folder.require_job())))
        there = destination.there()
        ours = {part.name for part in self.parts}
        if foreign := sorted(there.keys() - ours):
            raise OutputError(
                f"{destination.url!r} holds {foreign[0]!r}, which is not of this dataset. Choose "
                "a new place, or remove it there."
            )
        missing = [part for part in self.parts if there.get(part.name) != part.sha256]
        sent = 0
        for batch in _batches(missing):
            on_step(f"{sent:,} of {counted(len(missing), 'part')} sent; now {batch[0].name}")
            destination.send(self.folder, batch)
            sent += len(batch)
        on_step("the card")
        destination.finish({"sheet.png": _sheet(self.folder), "README.md": self.card.text.encode()})
        return sent


def prepare(folder: OutputFolder, licence: str | None = None) -> Publication:
    """Look at a dataset and make its card; sends nothing. Raises OutputError if it is not whole."""
    records = complete_records(folder)
    card = public_card(folder, records, licence)
    warnings = [
        f"the column {name!r} holds paths of a machine, and would be public"
        for name in local_paths(folder, min(records))
    ]
    if licence is None and card.licence == "other":
        warnings.append(
            f"the licence of {card.proposed.model} is {card.proposed.licence}: read it, and name "
            "the dataset's with --licence"
        )
    parts = [
        PartToSend(folder.part_name(index), record["bytes"], record["sha256"])
        for index, record in sorted(records.items())
    ]
    return Publication(folder, card, parts, warnings)


def _batches(parts: Sequence[PartToSend]) -> Iterator[list[PartToSend]]:
    batch: list[PartToSend] = []
    held = 0
    for part in parts:
        if batch and (len(batch) == BATCH_PARTS or held + part.num_bytes > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(part)
        held += part.num_bytes
    if batch:
        yield batch


def _sheet(folder: OutputFolder) -> bytes:
    with TemporaryDirectory(prefix="bottega-") as place:
        file = Path(place) / "sheet.png"
        make_sheet(folder, file)
        return file.read_bytes()
