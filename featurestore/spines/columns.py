"""Convert a spine's columns: times to UTC microseconds, keys to the feature table's types, others to types that tables can store."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import TypeMismatch
from featurestore.values import arrow_types
from featurestore.values.arrow_types import ARROW_TYPES
from featurestore.values.coercion import coerce, quote_value
from featurestore.values.storable import unstorable_values
from featurestore.values.times import FIRST, LAST
from featurestore.values.value_types import STORED_TYPES, VALUE_TYPES, ZONED

TIME = ARROW_TYPES[ZONED]
MAX_DECIMAL_DIGITS = 38
_ARROW_TYPES = {**{stored.sql: ARROW_TYPES[stored.sql] for stored in STORED_TYPES}, "UUID": pa.string()}


def plain_arrow_type(sql_type: str) -> pa.DataType:
    """The Arrow type of a key or request column of a DuckDB type; UUIDs travel as text."""
    return arrow_types.arrow_type(sql_type, _ARROW_TYPES)


def as_time(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Convert timestamps, dates or ISO 8601 text to UTC microseconds: no zone means UTC, nanoseconds are floored."""
    column = _decode(column)
    arrow_type_ = column.type
    if pa.types.is_timestamp(arrow_type_) or pa.types.is_date(arrow_type_):
        return _check_calendar(_micros(column, name).cast(TIME), name)
    if pa.types.is_null(arrow_type_):
        return column.cast(TIME)
    if pa.types.is_string(arrow_type_) or pa.types.is_large_string(arrow_type_):
        return pa.chunked_array([pa.array([_parse_time(value, name) for value in column.to_pylist()], TIME)])
    raise TypeMismatch(f"the timestamp column '{name}' is {arrow_type_}; give timestamps, dates or ISO 8601 text", field=name)


def as_key(column: pa.ChunkedArray, name: str, sql_type: str, role: str = "key column") -> pa.ChunkedArray:
    """Convert a column to the type of the feature table's key; NULL and NaN become NULL. Raises: TypeMismatch naming it and its role."""
    target = plain_arrow_type(sql_type)
    if column.type == target:
        return column
    if pa.types.is_integer(column.type) and pa.types.is_integer(target):
        try:
            return column.cast(target)
        except pa.ArrowInvalid:
            # The error names the number.
            return _key_by_value(column, name, sql_type, role)
    return _key_by_value(column, name, sql_type, role)


def _key_by_value(column: pa.ChunkedArray, name: str, sql_type: str, role: str) -> pa.ChunkedArray:
    try:
        values = column.to_pylist()
    except (OverflowError, ValueError) as error:
        raise TypeMismatch(f"the {role} '{name}' holds a time outside the years 1 to 9999", field=name) from error
    coerced = [coerce(value, sql_type, f"the {role} '{name}'") for value in values]
    texts = [str(value) if sql_type == "UUID" and value is not None else value for value in coerced]
    return pa.chunked_array([pa.array(texts, plain_arrow_type(sql_type))])


def as_value(column: pa.ChunkedArray, name: str, sql_type: str) -> pa.ChunkedArray:
    """Convert a request field to its declared type; NaN is kept in floating-point types. Raises: TypeMismatch."""
    target = plain_arrow_type(sql_type)
    numeric = pa.types.is_floating(target) and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type))
    return column.cast(target, safe=False) if numeric or column.type == target else as_key(column, name, sql_type, "request field")


def storable(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Convert any other column to a type that Iceberg can store: dictionaries are decoded, small integers widened, nanoseconds truncated.

    Raises: TypeMismatch for values that an Iceberg table cannot store exactly.
    """
    stored = _to_stored(_decode(column), name)
    if (unstorable := unstorable_values(stored)) is not None:
        raise TypeMismatch(f"the spine's column '{name}' holds {unstorable}, which cannot be stored; leave it out, or cast it", field=name)
    return stored


def _to_stored(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    arrow_type = column.type
    if pa.types.is_timestamp(arrow_type):
        return _micros(column, name).cast(pa.timestamp("us", tz=None if arrow_type.tz is None else "UTC"))
    target = _storable_type(arrow_type, name)
    if pa.types.is_list(target) and pa.types.is_struct(target.value_type) and column.null_count:
        # pyiceberg reads them as empty lists.
        raise TypeMismatch(f"the spine's column '{name}' is {arrow_type} and holds NULL lists; give empty ones or leave it out", field=name)
    try:
        return column if target == arrow_type else pc.cast(column, options=pc.CastOptions(target, allow_time_truncate=True))
    except pa.ArrowInvalid as error:
        raise TypeMismatch(f"the spine's column '{name}' is {arrow_type}, and does not fit {target}: {error}", field=name) from error


def _storable_type(arrow_type: pa.DataType, name: str, depth: int = 0) -> pa.DataType:
    is_ = pa.types
    if arrow_type in _STORABLE:
        return _STORABLE[arrow_type]
    if is_.is_dictionary(arrow_type):
        return _storable_type(arrow_type.value_type, name, depth)
    if is_.is_timestamp(arrow_type):
        return pa.timestamp("us", tz=None if arrow_type.tz is None else "UTC")
    if is_.is_decimal(arrow_type) and arrow_type.precision <= MAX_DECIMAL_DIGITS:
        return pa.decimal128(arrow_type.precision, arrow_type.scale)
    if is_.is_list(arrow_type) or is_.is_large_list(arrow_type) or is_.is_fixed_size_list(arrow_type):
        value = _storable_type(arrow_type.value_type, name, depth + 1)
        if not is_.is_struct(value) or not depth:
            return pa.list_(value)
    elif is_.is_struct(arrow_type) and arrow_type.num_fields:
        return pa.struct([(field.name, _storable_type(field.type, name, depth + 1)) for field in arrow_type])
    elif not (
        is_.is_nested(arrow_type) or is_.is_duration(arrow_type) or is_.is_interval(arrow_type) or is_.is_run_end_encoded(arrow_type)
    ):
        return arrow_type
    raise TypeMismatch(
        f"the spine's column '{name}' has {arrow_type}, which an Iceberg table cannot hold; cast it or leave it out", field=name
    )


def _decode(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column.type, pa.UuidType):
        return pa.chunked_array([pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())])
    return column.cast(column.type.storage_type) if isinstance(column.type, pa.BaseExtensionType) else column


def _micros(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Convert dates and timestamps of any unit to UTC microseconds without a zone; floored, also before 1970."""
    arrow_type = column.type
    if pa.types.is_timestamp(arrow_type) and arrow_type.tz is not None:
        column = column.cast(pa.timestamp(arrow_type.unit, tz="UTC")).cast(pa.timestamp(arrow_type.unit))
    if pa.types.is_timestamp(arrow_type) and arrow_type.unit == "ns":
        column = pc.floor_temporal(column, unit="microsecond")
    try:
        return column.cast(pa.timestamp("us"))
    except pa.ArrowInvalid as error:
        raise TypeMismatch(f"the column '{name}' holds a time beyond what microseconds can count", field=name) from error


def _parse_time(value: Any, name: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise TypeMismatch(f"the timestamp column '{name}' holds {quote_value(value)}, which is not ISO 8601", field=name) from error
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        raise TypeMismatch(
            f"the timestamp column '{name}' holds {value!r}, which is outside the years 1 to 9999 in UTC", field=name
        ) from error


def _check_calendar(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return the column after checking that its times are within the years 1 to 9999."""
    bounds = pc.min_max(column.cast(pa.int64())).as_py()
    if bounds["min"] is not None and not FIRST <= bounds["min"] <= bounds["max"] <= LAST:
        raise TypeMismatch(f"the timestamp column '{name}' holds a time outside the years 1 to 9999", field=name)
    return column


_STORABLE = {
    **{
        ARROW_TYPES[narrow.sql]: arrow_types.arrow_type(narrow.stored)
        for narrow in VALUE_TYPES
        if narrow.python is int and narrow.arrow and narrow.stored and narrow.stored != narrow.sql
    },
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.date64(): pa.date32(),
    pa.null(): pa.string(),
    pa.time32("s"): pa.time64("us"),
    pa.time32("ms"): pa.time64("us"),
    pa.time64("ns"): pa.time64("us"),
}
