"""The columns of rows that a caller gives, converted to the types of a table: every error names the row, counted from 0, and the column."""

from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import RequestError, TypeMismatch
from featurestore.spines.columns import plain_arrow_type
from featurestore.values import frames, times
from featurestore.values.coercion import coerce
from featurestore.values.storable import unstorable_values
from featurestore.values.value_types import ZONED

FRAME = "the frame"
Values: TypeAlias = "pa.ChunkedArray | list[Any]"


def given_columns(frame: Any, needed: list[str]) -> dict[str, Values]:
    """The columns of a frame, Arrow data or a list of dicts. Of a list of dicts, the values as they are, so that each is converted to the
    type of its column alone; an empty list has the columns `needed`. Raises: RequestError for text, and repeated columns.
    """
    if isinstance(frame, list):
        return dict(frames.rows_to_columns(frame, FRAME)) if frame else {name: [] for name in needed}
    table = frames.to_arrow_table(frame, FRAME)
    if table is None:
        raise RequestError(f"{FRAME} is text; give {frames.MEMORY}", field="frame")
    if repeated := sorted({column for column in table.schema.names if table.schema.names.count(column) > 1}):
        raise RequestError(f"{FRAME} has more than one column called {', '.join(map(repr, repeated))}", field=repeated[0])
    return dict(zip(table.schema.names, table.columns, strict=True))


def convert_column(column: Values, name: str, sql_type: str) -> pa.ChunkedArray:
    """The column in the type of the table: at once where Arrow does that exactly, else value by value. NaN of a frame is NULL."""
    target = plain_arrow_type(sql_type)
    converted = None if isinstance(column, list) else _convert_at_once(_decode(column), target, sql_type)
    if converted is None:
        converted = _convert_by_value(column, name, target, sql_type)
    if (unstorable := unstorable_values(converted)) is not None:
        raise TypeMismatch(f"column '{name}' of {FRAME} holds {unstorable}, which cannot be stored", field=name)
    return converted


def _decode(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    plain = isinstance(column.type, pa.UuidType) or not isinstance(column.type, pa.BaseExtensionType)
    return column if plain else column.cast(column.type.storage_type)


def _convert_at_once(column: pa.ChunkedArray, target: pa.DataType, sql_type: str) -> pa.ChunkedArray | None:
    source, is_ = column.type, pa.types
    if (source == target and sql_type != "UUID") or is_.is_null(source):
        return column.cast(target)
    numbers = is_.is_integer(source) and (is_.is_integer(target) or is_.is_float64(target))
    texts = sql_type == "VARCHAR" and (is_.is_large_string(source) or is_.is_string_view(source))
    binaries = sql_type == "BLOB" and (is_.is_large_binary(source) or is_.is_binary_view(source))
    widened = is_.is_float32(source) and is_.is_float64(target)
    if is_.is_timestamp(source) and sql_type == ZONED:
        return _micros(column)
    if not (numbers or texts or binaries or widened):
        return None
    try:
        return column.cast(target)
    except pa.ArrowInvalid:
        return None


def _micros(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Times in UTC microseconds, floored; None if one lies beyond what microseconds count, so that the slow way names it."""
    unit, zone = column.type.unit, column.type.tz
    if zone is not None:
        column = column.cast(pa.timestamp(unit, tz="UTC")).cast(pa.timestamp(unit))
    if unit == "ns":
        column = pc.floor_temporal(column, unit="microsecond")
    try:
        return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    except pa.ArrowInvalid:
        return None


def _convert_by_value(column: Values, name: str, target: pa.DataType, sql_type: str) -> pa.ChunkedArray:
    try:
        values = column if isinstance(column, list) else column.to_pylist()
    except (OverflowError, ValueError) as error:
        raise TypeMismatch(f"column '{name}' of {FRAME} holds a time outside the years 1 to 9999", field=name) from error
    coerced = [coerce(value, sql_type, f"row {row} of {FRAME}, column '{name}'") for row, value in enumerate(values)]
    if sql_type == "UUID":
        coerced = [None if value is None else str(value) for value in coerced]
    return pa.chunked_array([pa.array(coerced, target)])


def without_null(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    """The column. Raises: RequestError naming the first row with NULL."""
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise RequestError(f"row {row} of {FRAME} has NULL in {what}; leave such rows out", row=row)
    return column


def checked_times(column: pa.ChunkedArray, name: str, now: int) -> pa.ChunkedArray:
    """The times. Raises: RequestError naming the first row with NULL, or with a time after `now`, in microseconds."""
    without_null(column, f"the timestamp column '{name}'")
    late = pc.greater(column.cast(pa.int64()), now)
    if pc.any(late).as_py():
        row = pc.index(late, True).as_py()
        raise RequestError(
            f"row {row} of {FRAME} has {times.text(column[row].cast(pa.int64()).as_py())} in '{name}', which is in the future: online, the"
            " newest row is the current one. Leave future rows out",
            row=row,
            field=name,
        )
    return column
