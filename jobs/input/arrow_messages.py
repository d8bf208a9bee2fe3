"""The messages of an Arrow IPC stream, and what they unpack to.

pyarrow unpacks a whole record batch as soon as it is read, so the sizes are looked at before that.
Source: Message.fbs and File.fbs of Apache Arrow's format, version 1.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import flatbuffers
import pyarrow as pa
from flatbuffers.number_types import Int64Flags, Uint8Flags, UOffsetTFlags
from flatbuffers.table import Table

_DICTIONARY, _RECORD_BATCH = 2, 3
"""Of the union `MessageHeader`."""


@dataclass(frozen=True, slots=True)
class MessageSize:
    """is_batch: whether it is a record batch, and no dictionary. unpacked: bytes of its buffers."""

    is_batch: bool
    unpacked: int


def message_sizes(stream: pa.NativeFile) -> Iterator[MessageSize]:
    """Each record batch and dictionary from here to the stream's end. Raises ArrowInvalid."""
    for message in pa.ipc.MessageReader.open_stream(stream):
        try:
            size = _size(message.metadata.to_pybytes(), message.body)
        except (struct.error, IndexError, ValueError, TypeError) as error:
            raise pa.ArrowInvalid(f"a message is not whole: {error}") from error
        if size:
            yield size


def _size(metadata: bytes, body: pa.Buffer | None) -> MessageSize | None:
    message = Table(metadata, flatbuffers.encode.Get(UOffsetTFlags.packer_type, metadata, 0))
    kind, at = message.Offset(6), message.Offset(8)
    if not kind or not at:
        return None
    found = message.Get(Uint8Flags, kind + message.Pos)
    if found not in (_DICTIONARY, _RECORD_BATCH):
        return None
    header = Table(metadata, message.Indirect(at + message.Pos))
    if found == _DICTIONARY:
        header = Table(metadata, header.Indirect(header.Offset(6) + header.Pos))
    buffers, packing = header.Offset(8), header.Offset(10)
    unpacked = 0
    for number in range(header.VectorLen(buffers) if buffers else 0):
        place = header.Vector(buffers) + 16 * number  # a struct of two integers of 64 bits
        start, size = (header.Get(Int64Flags, place + step) for step in (0, 8))
        # A packed buffer begins with its size without packing; -1 means that it has none.
        if packing and size >= 8 and body is not None:
            packed = int.from_bytes(body.slice(start, 8).to_pybytes(), "little", signed=True)
            size = packed if packed >= 0 else size - 8
        unpacked += size
    return MessageSize(found == _RECORD_BATCH, unpacked)
