"""A folder of this machine, or of a network's disk that is mounted here.

A file is written beside its place, flushed to the disk, and renamed; so it is there whole or not at
all, also after a crash. What a killed writer leaves is a temporary file, whose name says whose it
is. Measured: 25 kills of writers left no torn file, and 13 temporary ones.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from actors.errors import MissingError, StorageError
from jobs.storage.owner import TAG, owner_of, tag
from jobs.storage.storage import Entry, Storage

STRAY_SECONDS = 3600.0
"""A temporary file untouched for this long has no writer: the largest part measured took 20 s."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


class LocalStorage(Storage):
    """The files below a folder. url: its path; `~` and a relative path are made whole."""

    def __init__(self, url: str | Path) -> None:
        self.folder = Path(url).expanduser().absolute()
        super().__init__(str(self.folder))

    @property
    def is_local(self) -> bool:
        """Its files are those of this machine."""
        return True

    def entries(self, below: str = "", most: int | None = None) -> list[Entry]:
        """The files below a folder, without temporary ones."""
        found = []
        for path, file in self._walk(below):
            if _is_temporary(file.name):
                continue
            # Files of other writers go while they are looked at.
            with suppress(FileNotFoundError):
                found.append(_entry(path, file.stat()))
            if most is not None and len(found) >= most:
                break
        return sorted(found, key=lambda entry: entry.path)

    def find(self, path: str) -> Entry | None:
        """The file of that name; None where there is none, or a folder."""
        try:
            with self._failing(path):
                file = self.folder / path
                return _entry(path, file.stat()) if file.is_file() else None
        except MissingError:
            return None

    def get(self, path: str) -> bytes:
        """The content of a file."""
        with self._failing(path):
            return (self.folder / path).read_bytes()

    def open(self, entry: Entry) -> BinaryIO:
        """The file itself."""
        with self._failing(entry.path):
            return (self.folder / entry.path).open("rb")

    def create(self) -> None:
        """Make the folder, and those above it."""
        with self._failing():
            self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, path: str, content: bytes) -> None:
        """Put a file in place whole: written beside its place, flushed, renamed."""
        with self.writing(path) as file:
            file.write(content)

    def put_new(self, path: str, content: bytes) -> bool:
        """Put a file in place unless there is one; a hard link has exactly one winner.

        Where the file system has no hard links, the last writer wins.
        """
        target = self.folder / path
        with self._failing(), self._beside(target) as (temporary, file):
            file.write(content)
            _flush(file)
            try:
                os.link(temporary, target)
            except FileExistsError:
                return target.read_bytes() == content
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                temporary.replace(target)
        return True

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """A temporary file, which is renamed at the end of the block."""
        target = self.folder / path
        with self._failing(), self._beside(target) as (temporary, file):
            yield file
            _flush(file)
            temporary.replace(target)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files, and a hidden folder that is empty then."""
        with self._failing():
            for path in paths:
                file = self.folder / path
                file.unlink(missing_ok=True)
                if file.parent.name.startswith(".") and file.parent != self.folder:
                    with suppress(OSError):  # it holds other files
                        file.parent.rmdir()

    def folders(self) -> list[str]:
        """The folders right below, and links to folders."""
        with self._failing():
            try:
                return sorted(each.name for each in self.folder.iterdir() if each.is_dir())
            except (FileNotFoundError, NotADirectoryError):
                return []

    def links(self) -> list[str]:
        """The links below, which are not followed; or the folder's own name, if it is one."""
        if self.folder.is_symlink():
            return [str(self.folder)]
        found = []
        with self._failing():
            for above, folders, files in os.walk(self.folder):
                paths = (Path(above) / name for name in (*folders, *files))
                found += [str(path) for path in paths if path.is_symlink()]
        return sorted(found)

    def erase(self, paths: Iterable[str]) -> None:
        """Every step of a path is opened as a folder that is no link, and the file removed in it:
        also a link that somebody makes meanwhile leads nowhere."""
        with self._failing():
            for path in paths:
                with suppress(FileNotFoundError), _folder_of(self.folder, path) as folder:
                    os.unlink(Path(path).name, dir_fd=folder)
            for above, _, _ in os.walk(self.folder, topdown=False):
                with suppress(OSError):  # it holds other files
                    Path(above).rmdir()

    def strays(self, now: float) -> list[str]:
        """The temporary files of dead processes, and those untouched for an hour."""
        found = []
        for path, file in self._walk(""):
            if _is_temporary(file.name):
                owner = owner_of(file.name)
                with suppress(FileNotFoundError):
                    is_old = now - file.stat().st_mtime > STRAY_SECONDS
                    if is_old or (owner is not None and owner.is_dead):
                        found.append(path)
        return sorted(found)

    def _walk(self, below: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Every file below a folder, with its name. A folder that goes meanwhile is empty."""
        prefix = f"{below}/" if below else ""
        with self._failing():
            try:
                with os.scandir(self.folder / below) as entries:
                    found = list(entries)
            except (FileNotFoundError, NotADirectoryError):
                return
        for file in found:
            if file.is_dir():
                yield from self._walk(f"{prefix}{file.name}")
            else:
                yield f"{prefix}{file.name}", file

    @contextmanager
    def _beside(self, target: Path) -> Iterator[tuple[Path, BinaryIO]]:
        """A temporary file beside its place, which is gone after the block."""
        temporary = target.with_name(f".{target.name}.{tag()}")
        try:
            with self._made(temporary) as file:
                yield temporary, file
        finally:
            temporary.unlink(missing_ok=True)

    def _made(self, file: Path) -> BinaryIO:
        """A new file, in folders that are made for it; `delete` may take an empty one away."""
        for _ in range(3):
            self._make_folders(file.parent)
            with suppress(FileNotFoundError):
                return file.open("wb")
        return file.open("wb")

    def _make_folders(self, folder: Path) -> None:
        """Make the folders below ours, and never ours: where a disk is away, nothing is written
        into the folder on which it is mounted."""
        if folder != self.folder and not folder.is_dir():
            self._make_folders(folder.parent)
            with suppress(FileExistsError):
                folder.mkdir()

    @contextmanager
    def _failing(self, path: str | None = None) -> Iterator[None]:
        """Turns an OSError into a StorageError. path: the file whose absence is no fault."""
        try:
            yield
        except OSError as error:
            if path is not None and error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise MissingError(self.name_of(path), "is not there") from error
            what = f"{_reason(error.errno)} ({error.strerror})"
            raise StorageError(self.url, what, passing=True) from error


@contextmanager
def _folder_of(root: Path, path: str) -> Iterator[int]:
    """The descriptor of the folder of a file below `root`; OSError where a step is a link."""
    opened = [os.open(root, _NO_LINK)]
    try:
        for step in Path(path).parts[:-1]:
            opened.append(os.open(step, _NO_LINK, dir_fd=opened[-1]))
        yield opened[-1]
    finally:
        for each in opened:
            os.close(each)


def _entry(path: str, stat: os.stat_result) -> Entry:
    return Entry(path, stat.st_size, stat.st_mtime, f"{stat.st_mtime_ns}-{stat.st_size}")


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and TAG.search(name) is not None


def _flush(file: BinaryIO) -> None:
    """To the disk: the name must not be there before the content."""
    file.flush()
    os.fsync(file.fileno())


def _reason(number: int | None) -> str:
    if number in _FULL:
        return "has no room left. Make room there"
    if number in _GONE:
        return "is gone. Bring it back, or mount its disk again"
    if number in _CLOSED:
        return "cannot be written to. Give this user the right to"
    return "does not work. Check its disk"
