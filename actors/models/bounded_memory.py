"""A bound on the memory that a configuration of somebody else may ask for while it is tried."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

MORE_BYTES = 2 * 2**30
"""Of memory, while something is made. Measured: no preset's network takes 100 MB without weights;
tables of positions are the largest thing."""

_LOCK = Lock()


@contextmanager
def bounded() -> Iterator[None]:
    """While this is open, the process gets MORE_BYTES of memory and no more: who asks for more gets
    an error that can be caught, and the process is not killed. Where the system has no such limit
    (it is Linux's), there is none."""
    with _LOCK:
        before = resource.getrlimit(resource.RLIMIT_DATA)
        if (held := _data_bytes()) is None:
            yield
            return
        most = held + MORE_BYTES
        hard = before[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        if before[0] != resource.RLIM_INFINITY:
            most = min(most, before[0])
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int | None:
    """What RLIMIT_DATA counts, of this process. Source: proc(5), the sixth number of statm."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[5]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()
