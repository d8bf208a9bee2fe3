"""Files that are not what their names say: told as such, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from actors.errors import InputError, StorageError
from jobs.input.source import Source

HEAD_BYTES = 64

_PACKED = {
    b"\x1f\x8b": ("gzip", ".gz"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", ".zst"),
    b"BZh": ("bzip2", ".bz2"),
}
_OTHER = {
    b"PAR1": "a Parquet file. Rename it to end in .parquet",
    b"ARROW1": "an Arrow file. Rename it to end in .arrow",
    b"PK\x03\x04": "a ZIP archive (spreadsheets are some). Unpack it, or export it as CSV",
    b"\xfd7zXZ": "packed with xz. Unpack it",
    b"SQLite format 3": "a database. Export its table as Parquet or CSV",
}
_OWN = {"parquet": b"PAR1", "arrow": b"ARROW1"}
LFS = b"version https://git-lfs.github.com/spec/"


def check_head(file: Source, head: bytes) -> None:
    """Refuse a file by its first bytes. Raises InputError. head: before anything is unpacked."""
    if head.startswith(LFS):
        raise InputError(
            f"{file} is a pointer of Git LFS: the file itself was not fetched. Run `git lfs pull` "
            "in its repository, and start again."
        )
    packing = file.kind.packing if file.kind else None
    for magic, (what, ending) in _PACKED.items():
        if head.startswith(magic) and packing is None:
            raise InputError(
                f"{file} is packed with {what}, and its name does not say so. Rename it to end in "
                f"{ending}, after the ending that it has."
            )
    for magic, what in _OTHER.items():
        if head.startswith(magic) and not (file.kind and _OWN.get(file.kind.family) == magic):
            raise InputError(f"{file} is {what}.")
    if packing and not any(head.startswith(magic) for magic in _PACKED):
        raise InputError(f"{file} is not packed, and its name says so. Rename it.")


@contextmanager
def undisguised(file: Source) -> Iterator[None]:
    """If the block refuses the file, and its first bytes say why, that is the reason."""
    try:
        yield
    except InputError:
        with suppress(OSError, StorageError), file.open() as content:
            check_head(file, content.read(HEAD_BYTES))
        raise
