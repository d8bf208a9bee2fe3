"""Chooses a storage by a path or a URL."""

from __future__ import annotations

from pathlib import Path

from jobs.storage.local import LocalStorage
from jobs.storage.object_store import ObjectStorage
from jobs.storage.storage import Storage
from jobs.storage.urls import HUB, checked, is_url, scheme_of


def file_at(place: str | Path) -> tuple[Storage, str]:
    """The storage of the folder that a file lies in, and the file's name there."""
    text = str(place)
    if not is_url(text):
        path = Path(place).expanduser().absolute()
        return LocalStorage(path.parent), path.name
    folder, _, name = checked(text).rpartition("/")
    return storage_at(folder), name


def storage_at(place: str | Path) -> Storage:
    """The storage at a path of this machine or at a URL; touches nothing.

    Raises SpecError for a URL that no storage has, or that holds a key.
    """
    if isinstance(place, Path) or not is_url(place):
        return LocalStorage(place)
    url = checked(place)
    if scheme_of(url) == HUB and not url.startswith(f"{HUB}://buckets/"):
        from jobs.storage.hub import HubStorage  # takes half a second to import

        return HubStorage(url)
    return ObjectStorage(url)
