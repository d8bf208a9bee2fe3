"""Casts a column to the type that `jobs.input.schema` gave, with the values that it has: pure.

At every depth, which Arrow's own casts do not reach: they know views, runs and dictionaries of
structs at the top alone, if at all, and let a time overflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

from actors.errors import InputError
from jobs.input.schema import is_list, parquets_unit, shown

_EXACT = Context(prec=100, Emax=1000, Emin=-1000)
"""For decimals, which have 76 digits at most."""


def cast_column(column: pa.Array, field: pa.Field, file: object) -> pa.Array:
    """The column of `file` in the field's type. Raises InputError for a value that it cannot hold.

    The sentence names the file, the column, the value and the rule.
    """
    try:
        found = cast_to(column, field.type)
        for decimals in _decimals(found):
            _check_precision(decimals)
        return found
    except (pa.ArrowException, OverflowError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"{file}: column {field.name!r} ({shown(column.type)}) cannot be read as "
            f"{shown(field.type)}: {reason}. Convert the column, or leave it out."
        ) from error


def cast_to(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same values in the type that `plain_type` or `common_type` gave.

    Raises ArrowInvalid for a value that has no place in it.
    """
    held = column.type
    if held.equals(kind):
        return column
    if pa.types.is_dictionary(held):
        return cast_to(column.dictionary, kind).take(column.indices)
    if pa.types.is_run_end_encoded(held):
        return _runs(column, kind)
    if pa.types.is_struct(held) and pa.types.is_struct(kind) and kind.num_fields:
        children = [
            cast_to(column.field(held.get_field_index(field.name)), field.type) for field in kind
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=column.is_null())
    if pa.types.is_map(held) and pa.types.is_map(kind):
        lists = _as_lists(column)
        entries = lists.flatten()
        keys, items = (entries.field(place) for place in (0, 1))
        return pa.MapArray.from_arrays(
            _offsets(lists).cast(pa.int32()),
            cast_to(keys, kind.key_type),
            cast_to(items, kind.item_type),
            type=kind,
            mask=column.is_null(),
        )
    if pa.types.is_fixed_size_list(held) and pa.types.is_fixed_size_list(kind):
        first, size = column.offset * held.list_size, len(column) * held.list_size
        values = cast_to(column.values.slice(first, size), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=column.is_null())
    if is_list(held) and is_list(kind):
        values = cast_to(column.flatten(), kind.value_type)
        is_large = pa.types.is_large_list(kind)
        offsets = _offsets(column)
        return (pa.LargeListArray if is_large else pa.ListArray).from_arrays(
            offsets if is_large else offsets.cast(pa.int32()),
            values,
            type=kind,
            mask=column.is_null(),
        )
    if parquets_unit(held) is not None:
        return _in_another_unit(column, kind)
    return column.cast(kind)


def _decimals(column: pa.Array) -> Iterator[pa.Array]:
    """The columns of decimals in a plain one, at whatever depth."""
    kind = column.type
    if pa.types.is_decimal(kind):
        yield column
    elif isinstance(column, pa.ExtensionArray):
        yield from _decimals(column.storage)
    elif pa.types.is_struct(kind):
        for child in column.flatten():
            yield from _decimals(child)
    elif pa.types.is_map(kind):
        yield from _decimals(_as_lists(column).flatten())
    elif is_list(kind):
        yield from _decimals(column.flatten())


def _check_precision(decimals: pa.Array) -> None:
    """Refuse a value of more digits than the type has: Parquet keeps as many bits as these need.

    Arrow's own validation takes the least number of a width for one that fits.
    """
    kind = decimals.type
    wide = (
        decimals.cast(pa.decimal128(kind.precision, kind.scale))
        if kind.bit_width < 128
        else decimals
    )
    most = 10**kind.precision
    for value in compute.min_max(wide).values():
        number = value.as_py()
        if number is not None and not -most < number.scaleb(kind.scale, _EXACT) < most:
            raise pa.ArrowInvalid(
                f"it has a value of {number}, of more than {kind.precision} digits"
            )


def _runs(column: pa.RunEndEncodedArray, kind: pa.DataType) -> pa.Array:
    """The values that the runs stand for; Arrow's own decoding knows no nested ones."""
    rows = np.arange(column.offset, column.offset + len(column))
    runs = np.searchsorted(column.run_ends.to_numpy(), rows, side="right")
    if not len(runs):
        return cast_to(column.values.slice(0, 0), kind)
    first, last = int(runs[0]), int(runs[-1])
    return cast_to(column.values.slice(first, last - first + 1), kind).take(pa.array(runs - first))


def _as_lists(maps: pa.MapArray) -> pa.ListArray:
    """The same as lists of keys and items, which Arrow's functions for lists know. No copy."""
    entries = pa.StructArray.from_arrays([maps.keys, maps.items], ["key", "value"])
    kind = pa.list_(entries.type)
    own = maps.buffers()[:2]
    return pa.Array.from_buffers(kind, len(maps), own, maps.null_count, maps.offset, [entries])


def _offsets(lists: Any) -> pa.Array:
    """Where each list begins and ends in what `flatten` returns, which leaves out nulls' values.

    Of a view too, of which pyarrow's own cast (26) makes an array that is not valid.
    """
    lengths = compute.list_value_length(lists).cast(pa.int64())
    ends = compute.cumulative_sum(
        compute.if_else(lists.is_valid(), lengths, pa.scalar(0, pa.int64()))
    )
    return pa.concat_arrays([pa.array([0], pa.int64()), ends])


def _in_another_unit(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same times in another unit. Arrow checks some casts and lets others overflow."""
    moved = column.cast(kind, safe=False)
    differ = compute.not_equal(moved.cast(column.type, safe=False), column)
    if bad := column.filter(differ.fill_null(False)):
        number = bad[0].cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
        raise pa.ArrowInvalid(
            f"it has a value of {number}, which {kind} does not hold exactly, and Parquet has no "
            f"{column.type}"
        )
    return moved
