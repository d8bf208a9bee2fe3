"""Fetches pictures that an input names by URLs, many at once, and from listed places only.

An input may come from anybody, and a job runs inside of somebody's network: so no address is asked
that is neither below the input's place nor below one that the job file lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from actors.errors import InputError, MissingError, StorageError
from jobs.storage.patience import patiently
from jobs.storage.storage import PARALLEL, Storage
from jobs.storage.storage_at import storage_at
from jobs.storage.urls import is_url, joined, scheme_of
from jobs.storage.web import WEB, WebStorage

MAX_PICTURE_BYTES = 64 * 2**20
"""Of a file. Chosen: a photograph has 20 MB at most, and a part has many of them in memory."""
MAX_ALL_BYTES = 2**30
"""Of all pictures of a part together, as of its other columns."""
PATIENCE_SECONDS = 300.0
"""For a store that is away; as long as for an output."""


def fetch_pictures(names: Sequence[str], place: str, roots: Sequence[str]) -> list[bytes | str]:
    """The content of each picture, or the reason why its row has none.

    names: URLs, or names relative to `place`, the input's own. Raises InputError where a store does
    not answer, or does not accept our credentials.
    """
    if not names:
        return []
    allowed = [root.rstrip("/") for root in ([place] if is_url(place) else []) + list(roots)]
    with ThreadPoolExecutor(min(PARALLEL, len(names))) as fetchers:
        found = list(fetchers.map(lambda name: _fetch(joined(place, name), allowed), names))
    held = sum(len(content) for content in found if isinstance(content, bytes))
    if held > MAX_ALL_BYTES:
        raise InputError(
            f"the pictures of {len(names):,} rows take {held:,} bytes, and those of a part at most "
            f"{MAX_ALL_BYTES:,}. Lower rows_per_part."
        )
    return found


def _fetch(url: str, allowed: Sequence[str]) -> bytes | str:
    root = next((root for root in allowed if url.startswith(f"{root}/")), None)
    shown = url[:100]
    if root is None:
        return (
            f"the picture {shown!r} is at no place that this job may ask. List one in image_roots, "
            "or mount or copy it"
        )
    name = url.removeprefix(f"{root}/")
    if not all(step not in ("", ".", "..") for step in name.split("/")) or "\0" in name:
        return f"the picture {shown!r} has an empty step, '.', '..' or a NUL in its name"
    try:
        return patiently(partial(_read, _storage_of(root), name), PATIENCE_SECONDS)
    except MissingError:
        return f"the picture {shown!r} is not there"
    except StorageError as error:
        raise InputError(f"picture {error.where} {error.what}.") from error


def _read(storage: Storage, name: str) -> bytes | str:
    entry = storage.find(name)
    if entry is None:
        raise MissingError(storage.name_of(name), "is not there")
    if entry.size > MAX_PICTURE_BYTES:
        return (
            f"the picture {storage.name_of(name)[:100]!r} has {entry.size:,} bytes, and at most "
            f"{MAX_PICTURE_BYTES:,} are read"
        )
    return storage.get(name)


def _storage_of(root: str) -> Storage:
    return WebStorage(root) if scheme_of(root) in WEB else storage_at(root)
