"""What a place for files is called: a path of this machine, or a URL of an object store.

Pure: it looks at the text alone. Everything that a URL must not hold is refused here, because
the libraries below drop it silently: a key before an `@`, and a query.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from actors.errors import SpecError

OBJECT_STORES = ("s3", "gs", "az", "abfss")
"""Schemes of the clouds' object stores, as their own tools write them."""
HUB = "hf"
KNOWN = ", ".join(f"{scheme}://" for scheme in (*OBJECT_STORES, HUB))

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_url(text: str) -> bool:
    """Whether a place is named by a URL; otherwise it is a path of this machine."""
    return _SCHEME.match(text) is not None


def scheme_of(url: str) -> str:
    """The scheme of a URL, in lower case; "" for a path."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def checked(url: str) -> str:
    """The URL of a storage, without a slash at its end. Raises SpecError for one that is none.

    The messages never show more of it than the scheme, where it may hold a key.
    """
    scheme = scheme_of(url)
    if scheme not in (*OBJECT_STORES, HUB):
        raise SpecError(
            f"{scheme}:// is no storage that Bottega knows. Known: {KNOWN}, and paths of this "
            "machine."
        )
    rest = url.partition("://")[2]
    host = rest.partition("/")[0]
    # abfss:// names its container before the @, without a colon.
    if ("@" in host and scheme != "abfss") or ":" in host.partition("@")[0]:
        raise SpecError(
            f"a {scheme}:// URL must not hold a key or a password. Take it out, and set the "
            "credentials in the environment (docs/storage.md)."
        )
    # A secret key may hold a slash: then its @ stands behind the first one.
    if "@" in rest and ":" in rest.partition("@")[0]:
        raise SpecError(
            f"a {scheme}:// URL with a ':' before an '@' may hold a key. Take it out, and set the "
            "credentials in the environment (docs/storage.md)."
        )
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise SpecError(
            f"a {scheme}:// URL must not have a query or a fragment (what follows '?' or '#'). "
            "Options are set in the environment (docs/storage.md)."
        )
    steps = rest.rstrip("/").split("/")
    if not steps[0]:
        raise SpecError(f"{url!r} names no bucket. Write {scheme}://BUCKET/FOLDER.")
    if any(step in ("", ".", "..") for step in steps):
        raise SpecError(
            f"{url!r} has an empty step, '.' or '..', which no object store resolves. Write the "
            "whole name."
        )
    if scheme == HUB and steps[0] not in ("buckets", "datasets"):
        raise SpecError(
            f"{url!r} names neither a bucket nor a dataset. Write hf://buckets/ORG/NAME or "
            "hf://datasets/ORG/NAME."
        )
    if scheme == HUB and len(steps) < 3:
        raise SpecError(f"{url!r} is too short. Write hf://{steps[0]}/ORG/NAME.")
    return f"{scheme}://{'/'.join(steps)}"


def joined(place: str, name: str) -> str:
    """A name relative to a place, a path or a URL; a whole name stays as it is."""
    if is_url(name) or name.startswith("/"):
        return name
    return f"{place.rstrip('/')}/{name}"
