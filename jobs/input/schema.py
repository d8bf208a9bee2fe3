"""One schema for all files of an input.

Two files of one schema often hold it differently: `string` here and `large_string` there, a list
with 32 or with 64 bits of offsets, a column of nulls alone. What Parquet itself writes alike is
one type here, and the columns may come in another order:

- text, bytes and lists: large, if one of them is large; lists of one fixed size keep it;
- a decimal of 32, 64, 128 or 256 bits of one precision and scale: the widest;
- a column of nulls alone: the other's type;
- structs, maps and lists: each field by these rules.

Dictionaries, runs and views are ways to hold a column in memory: a job decodes them, also where all
files have them, since the order of a dictionary depends on the row where reading began.

Parquet has no date64, and no times in seconds: it calls date64 date32, timestamp[s] timestamp[ms]
and time32[s] time32[ms], and so does a job. A value that the other does not hold exactly (a date64
with a time of day, a timestamp that overflows) is refused.

Anything else is refused: a timestamp in milliseconds and one in microseconds, int32 and int64, are
two types in Parquet too.
"""

from __future__ import annotations

import pyarrow as pa

_TEXT = (pa.string(), pa.large_string())
_BYTES = (pa.binary(), pa.large_binary())
_DECIMALS = (
    (pa.types.is_decimal32, pa.decimal32),
    (pa.types.is_decimal64, pa.decimal64),
    (pa.types.is_decimal128, pa.decimal128),
    (pa.types.is_decimal256, pa.decimal256),
)
"""The narrowest first."""


MAX_SHOWN = 100
"""Characters of a type. Chosen: a line and a half; a struct may have thousands of fields."""


def unified(one: pa.Schema, other: pa.Schema) -> pa.Schema | None:
    """The schema that both files are read in, in the order of `one`; None if there is none."""
    if sorted(one.names) != sorted(other.names):
        return None
    fields = []
    for field in one:
        kind = common_type(field.type, other.field(field.name).type)
        if kind is None:
            return None
        fields.append(field.with_type(kind).with_nullable(True))
    return pa.schema(fields, metadata=one.metadata)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Without encodings, every column nullable; with the metadata of the file and of its fields."""
    fields = [field.with_type(plain_type(field.type)).with_nullable(True) for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds both, by the table above; None if there is none."""
    one, other = plain_type(one), plain_type(other)
    if one == other:
        return one
    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    for family in (_TEXT, _BYTES):
        if one in family and other in family:
            return family[1] if family[1] in (one, other) else family[0]
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        return _common_struct(one, other)
    if pa.types.is_map(one) and pa.types.is_map(other):
        key = common_type(one.key_type, other.key_type)
        item = common_type(one.item_type, other.item_type)
        return key and item and pa.map_(key, item)
    if is_list(one) and is_list(other):
        return _common_list(one, other)
    return _common_decimal(one, other)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Without dictionaries, runs and views, and in Parquet's units; at every depth."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.string() if pa.types.is_string_view(kind) else pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind.fields])
    if pa.types.is_map(kind):
        key, item = kind.key_field, kind.item_field
        return pa.map_(
            key.with_type(plain_type(key.type)),
            item.with_type(plain_type(item.type)),
            keys_sorted=kind.keys_sorted,
        )
    if is_list(kind):
        field = kind.value_field
        return _list_like(kind, field.with_type(plain_type(field.type)))
    return parquets_unit(kind) or kind


def parquets_unit(kind: pa.DataType) -> pa.DataType | None:
    """The type that Parquet has for a time in a unit that it does not have; None for others."""
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if kind == pa.time32("s"):
        return pa.time32("ms")
    return pa.date32() if kind == pa.date64() else None


def may_not_fit(kind: pa.DataType) -> bool:
    """Whether it is, or has in it, a type with values that Parquet does not hold: a time in a unit
    that Parquet does not have, or a decimal."""
    if pa.types.is_dictionary(kind):
        return may_not_fit(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return may_not_fit(kind.storage_type)
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    own = parquets_unit(kind) is not None or pa.types.is_decimal(kind)
    return own or any(map(may_not_fit, inner))


def shown(kind: pa.DataType) -> str:
    """The type in a sentence: of a large one its beginning."""
    return text if len(text := str(kind)) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def is_list(kind: pa.DataType) -> bool:
    """Whether it is a list of any kind, a view of one too."""
    return _is_large_list(kind) or bool(
        pa.types.is_list(kind) or pa.types.is_list_view(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_large_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind))


def _list_like(kind: pa.DataType, field: pa.Field) -> pa.DataType:
    """The same kind of list, of another field; of a view, a list."""
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(field, kind.list_size)
    return pa.large_list(field) if _is_large_list(kind) else pa.list_(field)


def _common_list(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    values = common_type(one.value_type, other.value_type)
    if values is None:
        return None
    field = one.value_field.with_type(values).with_nullable(True)
    if _is_large_list(one) or _is_large_list(other):
        return pa.large_list(field)
    fixed = pa.types.is_fixed_size_list(one) and pa.types.is_fixed_size_list(other)
    if fixed and one.list_size == other.list_size:
        return pa.list_(field, one.list_size)
    return pa.list_(field)


def _common_struct(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    theirs = {field.name: field.type for field in other.fields}
    if sorted(field.name for field in one.fields) != sorted(theirs):
        return None
    fields = []
    for field in one.fields:
        kind = common_type(field.type, theirs[field.name])
        if kind is None:
            return None
        fields.append(field.with_type(kind).with_nullable(True))
    return pa.struct(fields)


def _common_decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    for is_kind, make in reversed(_DECIMALS):
        if is_kind(one) or is_kind(other):
            narrow = other if is_kind(one) else one
            if not pa.types.is_decimal(narrow):
                return None
            if (one.precision, one.scale) != (other.precision, other.scale):
                return None
            return make(one.precision, one.scale)
    return None
