"""Values of columns as they are computed with, and results as the engine returns them to Python."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_float
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from math import isinf, isnan
from types import MappingProxyType
from typing import Any

from featurestore.compiler.scalar.nodes import (
    BLOB,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    TIMESTAMP,
    UUID,
    VARCHAR,
    ZONED,
    EngineNeeded,
    SqlType,
    whole_range,
)
from featurestore.compiler.scalar.time_values import calendar_date, checked_timestamp, day_of
from featurestore.values.epoch import EPOCH, NAIVE_EPOCH

Conversion = Callable[[Any], Any]
ColumnReader = Callable[[Sequence[Any]], Sequence[Any] | None]
_MICROSECOND = timedelta(microseconds=1)
_WIDE = Context(prec=100)
_MOST_HUGEINT = 10**38
"""Integers from here on have more digits than a table holds."""


def column_reader(sql_type: SqlType) -> Conversion | None:
    """Converts the values of a column. Raises: EngineNeeded for one that the engine would have to convert; None: not for this type."""
    limits = whole_range(sql_type)
    if sql_type.name == "DECIMAL":
        return lambda value: _read_decimal(value, sql_type.scale, 10**sql_type.width)
    if limits is not None:
        return lambda value: _read_integer(value, *limits)
    return _READERS.get(sql_type)


def plain_reader(sql_type: SqlType, reader: Conversion) -> ColumnReader:
    """Converts whole columns as `reader` converts their values; None for a column with a NULL, a NaN, or a value of another type.

    Raises: EngineNeeded, as `reader`.
    """
    limits = whole_range(sql_type)
    if sql_type == DOUBLE:
        return _plain_doubles
    if sql_type == VARCHAR:
        return _plain_texts
    if sql_type == FLOAT:
        return lambda column: None if None in column else _plain_doubles(list(map(reader, column)))
    if limits is not None and sql_type.name != "DECIMAL":
        low, high = limits
        return lambda column: column if _are(int, column) and low <= min(column) and max(column) <= high else None
    return lambda column: None if None in column else list(map(reader, column))


def _are(python_type: type, column: Sequence[Any]) -> bool:
    return set(map(type, column)) == {python_type}


def _plain_doubles(column: Sequence[Any]) -> Sequence[Any] | None:
    # A sum has a NaN if one of the values is one. That of infinities of both signs is one, too, and leaves them to the other form.
    return column if _are(float, column) and not isnan(sum(column)) else None


def _plain_texts(column: Sequence[Any]) -> Sequence[Any] | None:
    if not _are(str, column):
        return None
    text = "".join(column)
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return None
    return column


def result_writer(sql_type: SqlType) -> Conversion | None:
    """Converts results. Raises: EngineNeeded for one that cannot be stored, which is an error; None: not for this type."""
    if sql_type.name == "DECIMAL":
        return lambda value: _WIDE.scaleb(Decimal(value), -sql_type.scale)
    if sql_type.name == "HUGEINT":
        return _write_hugeint
    return as_is if whole_range(sql_type) is not None else _WRITERS.get(sql_type)


def _read_decimal(value: Any, scale: int, limit: int) -> int:
    if type(value) is not Decimal or not value.is_finite():
        raise EngineNeeded
    scaled = value.scaleb(scale, _WIDE)
    number = int(scaled)
    if number != scaled or not -limit < number < limit:
        raise EngineNeeded
    return number


def _read_integer(value: Any, low: int, high: int) -> int:
    if type(value) is int and low <= value <= high:
        return value
    raise EngineNeeded


def _exactly(python_type: type) -> Conversion:
    def read(value: Any) -> Any:
        if type(value) is python_type:
            return value
        raise EngineNeeded

    return read


def _read_float(value: Any) -> float:
    if type(value) is not float:
        raise EngineNeeded
    single = c_float(value).value
    if isinf(single) and not isinf(value):
        raise EngineNeeded
    return single


def _read_text(value: Any) -> str:
    if type(value) is not str:
        raise EngineNeeded
    try:
        value.isascii() or value.encode()
    except UnicodeEncodeError:
        raise EngineNeeded from None
    return value


def _read_date(value: Any) -> int:
    if type(value) is date:
        return day_of(value)
    raise EngineNeeded


def _read_zoned(value: Any) -> int:
    if type(value) is datetime and value.tzinfo is UTC:
        return (value - EPOCH) // _MICROSECOND
    raise EngineNeeded


def _read_uuid(value: Any) -> int:
    """UUIDs of columns are text."""
    if type(value) is not str:
        raise EngineNeeded
    try:
        return uuid.UUID(value).int
    except ValueError:
        raise EngineNeeded from None


def _write_hugeint(value: int) -> int:
    if -_MOST_HUGEINT < value < _MOST_HUGEINT:
        return value
    raise EngineNeeded


def as_is(value: Any) -> Any:
    """The value itself."""
    return value


_READERS: Mapping[SqlType, Conversion] = MappingProxyType(
    {
        BOOLEAN: _exactly(bool),
        DOUBLE: _exactly(float),
        FLOAT: _read_float,
        VARCHAR: _read_text,
        BLOB: _exactly(bytes),
        DATE: _read_date,
        ZONED: _read_zoned,
        UUID: _read_uuid,
    }
)
_WRITERS: Mapping[SqlType, Conversion] = MappingProxyType(
    {
        **dict.fromkeys((BOOLEAN, DOUBLE, FLOAT, VARCHAR, BLOB), as_is),
        DATE: calendar_date,
        TIMESTAMP: lambda micros: NAIVE_EPOCH + timedelta(microseconds=checked_timestamp(micros)),
        ZONED: lambda micros: EPOCH + timedelta(microseconds=checked_timestamp(micros)),
        UUID: lambda value: uuid.UUID(int=value),
    }
)
