"""Chooses a destination of a publication by its name."""

from __future__ import annotations

from jobs.output.export.destination import Destination
from jobs.storage.storage_at import storage_at


def destination_at(place: str, public: bool = False) -> Destination:
    """A dataset repository of the hub, a bucket or a folder. Touches nothing.

    public: who may see a repository that is made. Raises SpecError for a place that is none.
    """
    if place.startswith("hf://") and not place.startswith("hf://buckets/"):
        from jobs.output.export.hub_repository import HubRepository  # takes a second to import

        return HubRepository(place, public)
    from jobs.output.export.public_folder import PublicFolder

    return PublicFolder(storage_at(place))
