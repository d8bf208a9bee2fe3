"""Files at an `https://` place, to read: pictures that a job's input names."""

from __future__ import annotations

from urllib.parse import urlsplit

from actors.errors import SpecError
from jobs.storage.object_store import ObjectStorage

WEB = ("https", "http")


class WebStorage(ObjectStorage):
    """Files below a URL of the web; it has no listing, and is never written to."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in WEB or not parts.hostname or parts.username or parts.query:
            raise SpecError(
                f"a place of the web is written https://HOST/FOLDER, without a key and without a "
                f"query; this one begins with {parts.scheme}://."
            )
        super(ObjectStorage, self).__init__(url.rstrip("/"))
