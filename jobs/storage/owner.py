"""Names of files that a process owns: the name ends in a tag with the process's host and number.

So any run, also on another host, can tell the files of a dead process from those of a live one.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass

TAG = re.compile(r"(?P<host>[A-Za-z0-9_-]+)\.(?P<pid>[0-9]+)\.[0-9a-f]{8}$")


@dataclass(frozen=True, slots=True)
class Owner:
    """The process in a file's tag."""

    host: str
    pid: int

    @property
    def is_me(self) -> bool:
        """Whether it is this process."""
        return self == Owner(_host(), os.getpid())

    @property
    def is_dead(self) -> bool:
        """Whether it certainly ended: it ran on this host, which has no such process now."""
        if self.host != _host():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname()) or "host"


def tag() -> str:
    """A unique ending for a file's name: host, process, four random bytes."""
    return f"{_host()}.{os.getpid()}.{os.urandom(4).hex()}"


def owner_of(name: str) -> Owner | None:
    """The owner in the tag that a file's name ends in; None without a tag."""
    found = TAG.search(name)
    return Owner(found["host"], int(found["pid"])) if found else None
