"""Files that are not what their names say: told as such, with what to do."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from actors.errors import InputError, StorageError
from jobs.input.formats import PACKINGS
from jobs.input.source import Source

HEAD_BYTES = 64

_PACKED = {
    b"\x1f\x8b": ("gzip", ".gz"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", ".zst"),
    # A frame that is skipped, with which pzstd begins; the first byte may be up to 0x5f.
    **{bytes([one]) + b"\x2a\x4d\x18": ("Zstandard", ".zst") for one in range(0x50, 0x60)},
    b"BZh": ("bzip2", ".bz2"),
}
_OTHER = {
    b"PAR1": "a Parquet file. Rename it to end in .parquet",
    b"ARROW1": "an Arrow file. Rename it to end in .arrow",
    b"PK\x03\x04": "a ZIP archive (spreadsheets are some). Unpack it, or export it as CSV",
    b"\xfd7zXZ": "packed with xz. Unpack it",
    b"SQLite format 3": "a database. Export its table as Parquet or CSV",
    b"version https://git-lfs.github.com/spec/": "a pointer of Git LFS: the file itself was not "
    "fetched. Run `git lfs pull` in its repository, and start again",
    b"/annex/objects/": "a pointer of git-annex: the file itself was not fetched. Run `git annex "
    "get` in its repository, and start again",
    b"%PDF-": "a PDF document. Export its text",
    b"{\\rtf": "an RTF document. Export it as plain text",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "a document of Office. Export it as CSV or plain text",
}
_PAGES = {
    b"<!doctype": "an HTML page, perhaps of a download that failed. Fetch the file itself",
    b"<html": "an HTML page, perhaps of a download that failed. Fetch the file itself",
    b"<?xml": "XML, perhaps of a download that failed. Fetch the file itself, or export it as CSV",
}
"""In small letters, behind blanks and a byte order mark."""
_OWN = {"parquet": b"PAR1", "arrow": b"ARROW1"}


def check_head(file: Source, head: bytes) -> None:
    """Refuse a file by its first bytes. Raises InputError. head: before anything is unpacked."""
    _check_kind(file, head)
    packing = file.kind.packing if file.kind else None
    found = _packed(head)
    if found and packing is None:
        raise InputError(
            f"{file} is packed with {found[0]}, and its name does not say so. Rename it to end in "
            f"{found[1]}, after the ending that it has."
        )
    if packing and not found:
        raise InputError(f"{file} is not packed, and its name says so. Rename it.")
    if packing and found and PACKINGS[found[1]] != packing:
        raise InputError(
            f"{file} is packed with {found[0]}, and its name says {packing}. Rename it to end in "
            f"{found[1]}."
        )


def check_text(file: Source, head: bytes) -> None:
    """Refuse a file of text by its first bytes, unpacked. Raises InputError."""
    _check_kind(file, head)
    if twice := _packed(head):
        raise InputError(f"{file} is packed twice: {twice[0]} is in it. Unpack it once.")
    is_marked = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if is_marked or b"\0" in head[:2] or (b"\0" in head and not _is_utf8(head)):
        raise InputError(f"{file} is UTF-16 or UTF-32, not UTF-8. Save it as UTF-8.")


def _check_kind(file: Source, head: bytes) -> None:
    for magic, what in _OTHER.items():
        if head.startswith(magic) and not (file.kind and _OWN.get(file.kind.family) == magic):
            raise InputError(f"{file} is {what}.")
    begin = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for magic, what in _PAGES.items():
        if begin.startswith(magic):
            raise InputError(f"{file} is {what}.")


def _packed(head: bytes) -> tuple[str, str] | None:
    """The packing that a file begins with, and its ending."""
    return next((what for magic, what in _PACKED.items() if head.startswith(magic)), None)


def _is_utf8(head: bytes) -> bool:
    """Whether it may go on as UTF-8: its last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def undisguised(file: Source) -> Iterator[None]:
    """If the block refuses the file, and its first bytes say why, that is the reason."""
    try:
        yield
    except InputError:
        with suppress(OSError, StorageError), file.open() as content:
            check_head(file, content.read(HEAD_BYTES))
        raise
