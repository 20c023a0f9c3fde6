"""Find a common type for a column that has different types in several files, without changing any value."""

from functools import reduce

import pyarrow as pa

from featurestore.compiler.expressions import quote_name
from featurestore.values.arrow_types import ARROW_TYPES
from featurestore.values.value_types import ZONED

_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_SQL = {
    **{arrow: sql for sql, arrow in ARROW_TYPES.items()},
    pa.float16(): "FLOAT",
    pa.time32("ms"): "TIME",
    pa.time64("ns"): "TIME_NS",
}
"""The DuckDB types in which DuckDB reads columns of these Arrow types from Parquet files."""


def plain(data_type: pa.DataType) -> pa.DataType:
    """The type without distinctions that only Arrow makes: dictionaries, large and fixed-size variants, time zone names."""
    is_ = pa.types
    if is_.is_dictionary(data_type):
        return plain(data_type.value_type)
    if is_.is_large_string(data_type) or is_.is_string_view(data_type):
        return pa.string()
    if is_.is_large_binary(data_type) or is_.is_binary_view(data_type) or is_.is_fixed_size_binary(data_type):
        return pa.binary()
    if is_.is_date(data_type):
        return pa.date32()
    if is_.is_timestamp(data_type):
        return pa.timestamp("ns" if data_type.unit == "ns" else "us", "UTC" if data_type.tz else None)
    if is_.is_decimal(data_type):
        return pa.decimal128(data_type.precision, data_type.scale) if data_type.precision <= 38 else data_type
    if is_.is_list(data_type) or is_.is_large_list(data_type) or is_.is_fixed_size_list(data_type):
        return pa.list_(plain(data_type.value_type))
    if is_.is_map(data_type):
        return pa.map_(plain(data_type.key_type), plain(data_type.item_type))
    if is_.is_struct(data_type):
        return pa.struct([pa.field(field.name, plain(field.type)) for field in data_type])
    return data_type


def has_wide_decimals(data_type: pa.DataType) -> bool:
    """Whether a type has decimals of more than 38 digits, which DuckDB reads as doubles."""
    if pa.types.is_decimal(data_type):
        return bool(data_type.precision > 38)
    return any(has_wide_decimals(data_type.field(place).type) for place in range(data_type.num_fields))


def widen(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """The type that represents all values of two plain types exactly; None if there is none.

    Wider integers, doubles for floats, decimals with enough digits for both, any type for NULLs only, and the same inside lists and
    structs with the same fields. Never a timestamp for a date, a float for an integer, or a zoned timestamp for one without zone.
    """
    is_ = pa.types
    if left == right or is_.is_null(right):
        return left
    if is_.is_null(left):
        return right
    if is_.is_integer(left) and is_.is_integer(right):
        return _integer(left, right)
    if is_.is_floating(left) and is_.is_floating(right):
        return max(left, right, key=lambda data_type: data_type.bit_width)
    if is_.is_decimal(left) and is_.is_decimal(right):
        scale = max(left.scale, right.scale)
        precision = max(left.precision - left.scale, right.precision - right.scale) + scale
        return pa.decimal128(precision, scale) if precision <= 38 else None
    if is_.is_timestamp(left) and is_.is_timestamp(right):
        return pa.timestamp("us", left.tz) if left.tz == right.tz else None
    return _widen_nested(left, right)


def common_type(data_types: list[pa.DataType]) -> pa.DataType | None:
    """The common type of several types, as `widen`."""
    return reduce(lambda common, other: None if common is None else widen(common, other), map(plain, data_types[1:]), plain(data_types[0]))


def sql_name(data_type: pa.DataType) -> str | None:
    """The DuckDB name of a plain type; None if it has none."""
    is_ = pa.types
    if data_type in _SQL:
        return _SQL[data_type]
    if is_.is_timestamp(data_type):
        return ZONED if data_type.tz else "TIMESTAMP"
    if is_.is_decimal(data_type):
        return f"DECIMAL({data_type.precision},{data_type.scale})" if data_type.precision <= 38 else None
    if is_.is_list(data_type):
        element = sql_name(data_type.value_type)
        return element and f"{element}[]"
    if is_.is_map(data_type):
        sides = (sql_name(data_type.key_type), sql_name(data_type.item_type))
        return None if None in sides else f"MAP({sides[0]}, {sides[1]})"
    if is_.is_struct(data_type):
        fields = [(field.name, sql_name(field.type)) for field in data_type]
        if any(inner is None for _, inner in fields):
            return None
        return f"STRUCT({', '.join(f'{quote_name(name)} {inner}' for name, inner in fields)})"
    return None


def _integer(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    signed = [pa.types.is_signed_integer(data_type) for data_type in (left, right)]
    if signed[0] == signed[1]:
        return max(left, right, key=lambda data_type: data_type.bit_width)
    signed_type, unsigned_type = (left, right) if signed[0] else (right, left)
    return _SIGNED.get(max(signed_type.bit_width, unsigned_type.bit_width * 2))


def _widen_nested(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    is_ = pa.types
    if is_.is_list(left) and is_.is_list(right):
        element = _inner(left.value_type, right.value_type)
        return None if element is None else pa.list_(element)
    if is_.is_map(left) and is_.is_map(right):
        key, item = _inner(left.key_type, right.key_type), _inner(left.item_type, right.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if is_.is_struct(left) and is_.is_struct(right) and [field.name for field in left] == [field.name for field in right]:
        types = [_inner(mine.type, theirs.type) for mine, theirs in zip(left, right, strict=True)]
        return None if None in types else pa.struct([pa.field(field.name, data_type) for field, data_type in zip(left, types, strict=True)])
    return None


def _inner(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """As `widen`, for nested types, where a cast of timestamps would round nanoseconds."""
    widened = widen(left, right)
    return None if widened is not None and pa.types.is_timestamp(widened) and left != right else widened
