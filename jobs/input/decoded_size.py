"""How many bytes each row of a column takes once it is decoded, by how it is held: pure.

A dictionary, a run or a view names one value many times: kilobytes may stand for terabytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Sizes = npt.NDArray[np.int64]


def decoded_bytes(array: pa.Array) -> Sizes:
    """Bytes of each row without dictionaries, runs and views; decodes nothing."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return decoded_bytes(array.storage)
    if pa.types.is_dictionary(kind):
        return _of_dictionary(array)
    if pa.types.is_run_end_encoded(kind):
        rows = np.arange(array.offset, array.offset + len(array))
        runs = np.searchsorted(array.run_ends.to_numpy(), rows, side="right")
        found: Sizes = decoded_bytes(array.values)[runs]
        return found
    if pa.types.is_struct(kind):
        fields = [decoded_bytes(array.field(place)) for place in range(kind.num_fields)]
        whole: Sizes = sum(fields, _constant(array, 0))
        return whole
    if pa.types.is_fixed_size_list(kind):
        inner = decoded_bytes(array.values.slice(array.offset * kind.list_size))
        inner = inner[: len(array) * kind.list_size]
        sums: Sizes = inner.reshape(len(array), kind.list_size).sum(axis=1)
        return _constant(array, 0) + sums
    if _is_list(kind):
        return _of_list(array)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _of_view(array)
    offset_type: Any = _OFFSETS.get(kind)
    if offset_type is not None:
        offsets = _numbers(array, 1, offset_type, 1)
        return np.diff(offsets).astype(np.int64) if len(array) else _constant(array, 0)
    return _constant(array, -(-_bit_width(kind) // 8))


_OFFSETS = {
    pa.string(): np.int32,
    pa.binary(): np.int32,
    pa.large_string(): np.int64,
    pa.large_binary(): np.int64,
}


def _constant(array: pa.Array, value: int) -> Sizes:
    return np.full(len(array), value, np.int64)


def _numbers(array: pa.Array, buffer: int, kind: Any, more: int = 0) -> npt.NDArray[Any]:
    """The numbers of a buffer that stand for the array's rows, and `more` at their end."""
    content = array.buffers()[buffer]
    if content is None or not len(array):
        return np.zeros(len(array) + more, kind)
    first = array.offset * np.dtype(kind).itemsize
    return np.frombuffer(content, kind, len(array) + more, first)


def _of_dictionary(array: pa.DictionaryArray) -> Sizes:
    lengths = decoded_bytes(array.dictionary)
    if not len(lengths):
        return _constant(array, 0)
    places = array.indices.fill_null(0).to_numpy().astype(np.int64)
    return np.where(array.is_valid().to_numpy(zero_copy_only=False), lengths[places], 0)


def _of_view(array: pa.Array) -> Sizes:
    """The first 4 of a view's 16 bytes are its length."""
    content = array.buffers()[1]
    if content is None or not len(array):
        return _constant(array, 0)
    words = np.frombuffer(content, np.int32, 4 * len(array), 16 * array.offset)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return np.where(valid, words[::4].astype(np.int64), 0)


def _of_list(array: Any) -> Sizes:
    """The sum of the values of each row; rows of a view may name the same values."""
    if not len(array):
        return _constant(array, 0)
    kind = array.type
    wide = pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)
    number = np.int64 if wide else np.int32
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        begin = np.where(valid, _numbers(array, 1, number), 0).astype(np.int64)
        end = begin + np.where(valid, _numbers(array, 2, number), 0)
    else:
        offsets = _numbers(array, 1, number, 1).astype(np.int64)
        begin, end = offsets[:-1], offsets[1:]
    first, last = int(begin.min()), int(end.max())
    if last <= first:
        return _constant(array, 0)
    values = array.values if not pa.types.is_map(kind) else _entries(array)
    inner = decoded_bytes(values.slice(first, last - first))
    sums = np.concatenate([[0], np.cumsum(inner)])
    return np.where(end > begin, sums[end - first] - sums[np.maximum(begin - first, 0)], 0)


def _entries(array: pa.MapArray) -> pa.StructArray:
    return pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])


def _is_list(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_list,
            pa.types.is_large_list,
            pa.types.is_list_view,
            pa.types.is_large_list_view,
            pa.types.is_map,
        )
    )


def _bit_width(kind: pa.DataType) -> int:
    try:
        return int(kind.bit_width)
    except ValueError:  # of nulls, which take none
        return 0
