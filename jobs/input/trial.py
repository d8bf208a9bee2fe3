"""Tries each type of an input before a job starts: what is written has to be read back.

Some types Parquet refuses to write, and some it writes and nobody reads. Which they are is not
listed here: a row and a null of each type go the way that the job's rows will go.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import InputError
from jobs.input.base import InputFile
from jobs.input.casting import cast_to
from jobs.input.schema import is_list, plain_type, shown
from jobs.parquet_writing import write_parquet


def check_types(readers: Sequence[InputFile], schema: pa.Schema) -> None:
    """Refuse a column of a type that cannot be read from the dataset as it came in.

    schema: that of the job, which the files are read in. Raises InputError.
    """
    tried: set[tuple[pa.DataType, pa.DataType]] = set()
    for reader in readers:
        for field in reader.held_schema:
            wanted = schema.field(field.name).type
            if (field.type, wanted) in tried:
                continue
            tried.add((field.type, wanted))
            if reason := _problem(field.type, wanted):
                raise InputError(
                    f"column {field.name!r} of {reader.file} ({shown(field.type)}) cannot be "
                    f"written to Parquet and read back: {reason}. Leave it out, or convert it."
                )


def _problem(held: pa.DataType, wanted: pa.DataType) -> str | None:
    """Why a column of this type does not come out as the wanted one; None if it does."""
    held, wanted = small(held), small(wanted)
    try:
        rows = cast_to(cast_to(example(held), plain_type(held)), wanted)
        file = BytesIO()
        write_parquet(file, pa.schema({"x": wanted}), [pa.table([rows], ["x"])])
        read = pq.ParquetFile(file, arrow_extensions_enabled=True).read()["x"].combine_chunks()
        read.validate(full=True)
    # pyarrow raises some of its own errors as those of Python: a type of no bytes is an OSError.
    except (pa.ArrowException, OSError, TypeError, ValueError, OverflowError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    if not read.type.equals(wanted):
        return f"it is read as {read.type}"
    return None if read.equals(rows) else "its values are read as others"


def small(kind: pa.DataType) -> pa.DataType:
    """A type like this one, of which a row is small: what is fixed in length has two values at
    most."""
    if isinstance(kind, pa.FixedShapeTensorType):
        shape = [min(size, 1) for size in kind.shape]
        return pa.fixed_shape_tensor(
            kind.value_type, shape, dim_names=kind.dim_names, permutation=kind.permutation
        )
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary(min(kind.byte_width, 2))
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, small(kind.value_type), kind.ordered)
    if pa.types.is_run_end_encoded(kind):
        return pa.run_end_encoded(kind.run_end_type, small(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([_small_field(field) for field in kind.fields])
    if pa.types.is_map(kind):
        key, item = _small_field(kind.key_field), _small_field(kind.item_field)
        return pa.map_(key, item, keys_sorted=kind.keys_sorted)
    if not is_list(kind):
        return kind
    field = _small_field(kind.value_field)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(field, min(kind.list_size, 2))
    make = next(make for is_kind, make, _ in _LISTS if is_kind(kind))
    return make(field)


def _small_field(field: pa.Field) -> pa.Field:
    return field.with_type(small(field.type))


_LISTS = (
    (pa.types.is_list, pa.list_, pa.ListArray),
    (pa.types.is_large_list, pa.large_list, pa.LargeListArray),
    (pa.types.is_list_view, pa.list_view, pa.ListViewArray),
    (pa.types.is_large_list_view, pa.large_list_view, pa.LargeListViewArray),
)


def example(kind: pa.DataType, nullable: bool = True) -> pa.Array:
    """Two rows of a type: a value, and a null where it may be one. Raises ArrowException."""
    mask = pa.array([False, nullable])
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, example(kind.storage_type, nullable))
    if pa.types.is_dictionary(kind):
        places = pa.array([0, None if nullable else 0], kind.index_type)
        values = example(kind.value_type, nullable=False)
        return pa.DictionaryArray.from_arrays(places, values, ordered=kind.ordered)
    if pa.types.is_run_end_encoded(kind):
        ends = pa.array([1, 2], kind.run_end_type)
        return pa.RunEndEncodedArray.from_arrays(ends, example(kind.value_type, nullable))
    if pa.types.is_struct(kind) and kind.num_fields:
        return pa.StructArray.from_arrays(
            [_values(field) for field in kind.fields], fields=kind.fields, mask=mask
        )
    if pa.types.is_map(kind):
        offsets = pa.array([0, 2, 2], pa.int32())
        keys, items = _values(kind.key_field), _values(kind.item_field)
        return pa.MapArray.from_arrays(offsets, keys, items, type=kind, mask=mask)
    if pa.types.is_fixed_size_list(kind):
        if not kind.list_size:
            # pyarrow writes them, reads none of them, and makes one by dividing by zero.
            raise pa.ArrowInvalid("its lists have no length")
        values = pa.concat_arrays([_values(kind.value_field)] * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=mask)
    if is_list(kind):
        return _list(kind, mask)
    return _plain(kind, nullable)


def _values(field: pa.Field) -> pa.Array:
    return example(field.type, field.nullable)


def _list(kind: pa.DataType, mask: pa.Array) -> pa.Array:
    values = _values(kind.value_field)
    array = next(array for is_kind, _, array in _LISTS if is_kind(kind))
    is_large = pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)
    number = pa.int64() if is_large else pa.int32()
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        starts, sizes = pa.array([0, 2], number), pa.array([2, 0], number)
        return array.from_arrays(starts, sizes, values, type=kind, mask=mask)
    return array.from_arrays(pa.array([0, 2, 2], number), values, type=kind, mask=mask)


def _plain(kind: pa.DataType, nullable: bool) -> pa.Array:
    if kind in _TEXTS:
        return pa.array(["0", None if nullable else "0"]).cast(kind)
    if kind in _BYTES:
        return pa.array([b"0", None if nullable else b"0"]).cast(kind)
    try:
        width = kind.bit_width
    except ValueError:  # nulls, and what Parquet has none of: unions, structs without fields
        return pa.nulls(2, kind)
    # Zeros are a value of every type of fixed width.
    valid = pa.py_buffer(bytes([0b01 if nullable else 0b11]))
    return pa.Array.from_buffers(kind, 2, [valid, pa.py_buffer(bytes(max(8, width // 4)))])


_TEXTS = (pa.string(), pa.large_string(), pa.string_view())
_BYTES = (pa.binary(), pa.large_binary(), pa.binary_view())
