"""The one type of a column that several files have in different ones: only where every value stays what it is."""

from functools import reduce

import pyarrow as pa

from featurestore.compiler.expressions import quoted

_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_PLAIN = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float16(): "FLOAT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.time32("ms"): "TIME",
    pa.time64("us"): "TIME",
    pa.time64("ns"): "TIME_NS",
}


def plain(kind: pa.DataType) -> pa.DataType:
    """A type without what only Arrow tells apart: dictionaries, large and fixed-size forms, the name of a zone."""
    is_ = pa.types
    if is_.is_dictionary(kind):
        return plain(kind.value_type)
    if is_.is_large_string(kind) or is_.is_string_view(kind):
        return pa.string()
    if is_.is_large_binary(kind) or is_.is_binary_view(kind) or is_.is_fixed_size_binary(kind):
        return pa.binary()
    if is_.is_date(kind):
        return pa.date32()
    if is_.is_timestamp(kind):
        return pa.timestamp("ns" if kind.unit == "ns" else "us", "UTC" if kind.tz else None)
    if is_.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= 38 else kind
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_type))
    if is_.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if is_.is_struct(kind):
        return pa.struct([pa.field(field.name, plain(field.type)) for field in kind])
    return kind


def is_beyond(kind: pa.DataType) -> bool:
    """Whether there are decimals of more than 38 digits in a type, which the engine reads as doubles."""
    if pa.types.is_decimal(kind):
        return bool(kind.precision > 38)
    return any(is_beyond(kind.field(place).type) for place in range(kind.num_fields))


def widest(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type, of two plain ones, that holds every value of both as it is; None when there is none.

    Wider integers, doubles for floats, decimals with room for both, anything for what is NULL only, and the same inside lists
    and structs of the same fields. Never a timestamp for a date, a float for an integer, or an instant for a time without zone.
    """
    is_ = pa.types
    if one == other or is_.is_null(other):
        return one
    if is_.is_null(one):
        return other
    if is_.is_integer(one) and is_.is_integer(other):
        return _integer(one, other)
    if is_.is_floating(one) and is_.is_floating(other):
        return max(one, other, key=lambda kind: kind.bit_width)
    if is_.is_decimal(one) and is_.is_decimal(other):
        scale = max(one.scale, other.scale)
        precision = max(one.precision - one.scale, other.precision - other.scale) + scale
        return pa.decimal128(precision, scale) if precision <= 38 else None
    if is_.is_timestamp(one) and is_.is_timestamp(other):
        return pa.timestamp("us", one.tz) if one.tz == other.tz else None
    return _nested(one, other)


def common(kinds: list[pa.DataType]) -> pa.DataType | None:
    """The widest of several types, as `widest`."""
    return reduce(lambda one, other: None if one is None else widest(one, other), map(plain, kinds[1:]), plain(kinds[0]))


def sql_type(kind: pa.DataType) -> str | None:
    """The engine's name of a plain type; None for one that it has no such name for."""
    is_ = pa.types
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, pa.UuidType):
        return "UUID"
    if is_.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP"
    if is_.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})" if kind.precision <= 38 else None
    if is_.is_list(kind):
        element = sql_type(kind.value_type)
        return element and f"{element}[]"
    if is_.is_map(kind):
        sides = (sql_type(kind.key_type), sql_type(kind.item_type))
        return None if None in sides else f"MAP({sides[0]}, {sides[1]})"
    if is_.is_struct(kind):
        fields = [(field.name, sql_type(field.type)) for field in kind]
        return None if any(own is None for _, own in fields) else f"STRUCT({', '.join(f'{quoted(name)} {own}' for name, own in fields)})"
    return None


def _integer(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    signed = [pa.types.is_signed_integer(kind) for kind in (one, other)]
    if signed[0] == signed[1]:
        return max(one, other, key=lambda kind: kind.bit_width)
    own, unsigned = (one, other) if signed[0] else (other, one)
    return _SIGNED.get(max(own.bit_width, unsigned.bit_width * 2))


def _nested(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    is_ = pa.types
    if is_.is_list(one) and is_.is_list(other):
        element = _inner(one.value_type, other.value_type)
        return None if element is None else pa.list_(element)
    if is_.is_map(one) and is_.is_map(other):
        key, item = _inner(one.key_type, other.key_type), _inner(one.item_type, other.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if is_.is_struct(one) and is_.is_struct(other) and [field.name for field in one] == [field.name for field in other]:
        kinds = [_inner(mine.type, theirs.type) for mine, theirs in zip(one, other, strict=True)]
        return None if None in kinds else pa.struct([pa.field(field.name, kind) for field, kind in zip(one, kinds, strict=True)])
    return None


def _inner(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Nanoseconds in a list or struct cannot be cut by a cast, which rounds."""
    found = widest(one, other)
    return None if found is not None and pa.types.is_timestamp(found) and one != other else found
