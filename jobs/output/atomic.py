"""Writes files of an output folder whole or not at all, and explains a disk's errors.

The name of a temporary file carries its writer's host and process, so that any run, also on another
host, can tell the files of a dead process from those of a live one.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from actors.errors import OutputFailedError

STRAY_SECONDS = 3600.0
"""A temporary file untouched for this long has no writer: the largest part measured took 20 s."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}

_TAG = re.compile(r"(?P<host>[A-Za-z0-9_-]+)\.(?P<pid>[0-9]+)\.[0-9a-f]{8}$")
_TEMPORARY = re.compile(
    rf"\.(part-[0-9]{{8}}\.|job\.|status\.|README\.|report\.|_SUCCESS).*{_TAG.pattern}"
)


@dataclass(frozen=True, slots=True)
class Owner:
    """The process in a file's tag."""

    host: str
    pid: int

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


def owner_of(file: Path) -> Owner | None:
    """The owner in the tag that a file's name ends in; None without a tag."""
    found = _TAG.search(file.name)
    return Owner(found["host"], int(found["pid"])) if found else None


def temporary_files(folder: Path) -> list[Path]:
    """The temporary files of an output folder, of live writers and of dead ones."""
    return sorted(
        file
        for place in (folder, folder / "data", folder / "records")
        for file in place.glob(".*")
        if _TEMPORARY.match(file.name)
    )


def is_stray(file: Path, now: float) -> bool:
    """Whether a temporary file's writer is gone. `now`: seconds, by the file system's clock."""
    owner = owner_of(file)
    if owner is not None and owner.is_dead:
        return True
    try:
        return now - file.stat().st_mtime > STRAY_SECONDS
    except FileNotFoundError:
        return False


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in place whole or not at all, also after a crash."""
    with writing_whole(path) as file:
        file.write(content)


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to. At the end of the block it is put in place, unless the block raises."""
    with _beside(path) as (temporary, file):
        yield file
        _flush(file)
        temporary.replace(path)


def write_first(path: Path, content: bytes) -> bool:
    """Put a file in place whole unless it is there. Returns whether this call put it there.

    Of several writers the first wins; where the file system has no hard links, the last one does.
    """
    with _beside(path) as (temporary, file):
        file.write(content)
        _flush(file)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            temporary.replace(path)
    return True


@contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A temporary file beside its place, which is gone after the block."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{tag()}")
    try:
        with temporary.open("wb") as file:
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


def _flush(file: BinaryIO) -> None:
    """To the disk: the name must not be there before the content."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def failing_in(folder: Path) -> Iterator[None]:
    """Turns an OSError into an OutputFailedError that names the folder and the next step."""
    try:
        yield
    except OSError as error:
        raise OutputFailedError(
            f"the output folder {str(folder)!r} {_reason(error.errno)} ({error.strerror}), and run "
            "the same command again; finished parts stay good."
        ) from error


def _reason(number: int | None) -> str:
    if number in _FULL:
        return "has no room left. Make room there"
    if number in _GONE:
        return "is gone. Bring it back, or mount its disk again"
    if number in _CLOSED:
        return "cannot be written to. Give this user the right to"
    return "does not work. Check its disk"
