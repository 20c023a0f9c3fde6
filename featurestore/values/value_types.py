"""The scalar types of values: one row for each DuckDB type, from which all other tables of types are made."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from types import MappingProxyType
from typing import Any
from uuid import UUID

_DECIMAL = re.compile(r"DECIMAL\((\d{1,2}),(\d{1,2})\)")


@dataclass(frozen=True)
class ValueType:
    """A scalar type.

    `sql` is its name in DuckDB and `arrow` its name in Arrow (None: there is no exact Arrow type). `python` is the type of its values,
    `width` the bytes of a value (None: not fixed). `names` are its names in definitions, for the types that feature tables have;
    `stored` is the type in which a feature table stores its values (None: it cannot).
    """

    sql: str
    arrow: str | None
    python: type[Any]
    width: int | None
    names: tuple[str, ...] = ()
    stored: str | None = None


def _storable(sql: str, arrow: str, python: type[Any], width: int | None, *names: str) -> ValueType:
    return ValueType(sql, arrow, python, width, names, sql)


ZONED = "TIMESTAMP WITH TIME ZONE"

VALUE_TYPES = (
    _storable("BOOLEAN", "bool", bool, 1, "boolean", "bool"),
    _storable("INTEGER", "int32", int, 4, "int", "integer"),
    _storable("BIGINT", "int64", int, 8, "long", "bigint"),
    _storable("FLOAT", "float", float, 4, "float"),
    _storable("DOUBLE", "double", float, 8, "double"),
    _storable("VARCHAR", "string", str, None, "string", "varchar", "text"),
    _storable("DATE", "date32[day]", date, 4, "date"),
    _storable(ZONED, "timestamp[us, tz=UTC]", datetime, 8, "timestamp", "timestamptz"),
    _storable("UUID", "extension<arrow.uuid>", UUID, 16, "uuid"),
    _storable("BLOB", "binary", bytes, None, "binary"),
    ValueType("TINYINT", "int8", int, 1, stored="INTEGER"),
    ValueType("SMALLINT", "int16", int, 2, stored="INTEGER"),
    ValueType("UTINYINT", "uint8", int, 1, stored="INTEGER"),
    ValueType("USMALLINT", "uint16", int, 2, stored="INTEGER"),
    ValueType("UINTEGER", "uint32", int, 4, stored="BIGINT"),
    ValueType("UBIGINT", "uint64", int, 8, stored="DECIMAL(20,0)"),
    ValueType("HUGEINT", None, int, 16, stored="BIGINT"),
    ValueType("UHUGEINT", None, int, 16, stored="BIGINT"),
    ValueType("TIMESTAMP", "timestamp[us]", datetime, 8, stored=ZONED),
    ValueType("TIMESTAMP_S", "timestamp[s]", datetime, 8, stored=ZONED),
    ValueType("TIMESTAMP_MS", "timestamp[ms]", datetime, 8, stored=ZONED),
    ValueType("TIME", "time64[us]", time, 8),
)

TYPES: Mapping[str, ValueType] = MappingProxyType({value_type.sql: value_type for value_type in VALUE_TYPES})
"""The scalar types by their DuckDB names."""

STORED_TYPES = tuple(value_type for value_type in VALUE_TYPES if value_type.names)
"""The scalar types of feature tables; they also have DECIMAL(p,s), and lists of all of these."""

FLOATING = frozenset(value_type.sql for value_type in VALUE_TYPES if value_type.python is float)
"""The types with NaN and infinities."""

INTEGERS = frozenset(value_type.sql for value_type in VALUE_TYPES if value_type.python is int)


def type_name(sql_type: str) -> str:
    """The name of a type without its digits, "[]" for any list: DECIMAL for DECIMAL(10,2)."""
    return "[]" if sql_type.endswith("[]") else sql_type.partition("(")[0]


def decimal_digits(sql_type: str) -> tuple[int, int] | None:
    """The precision and the scale of a DECIMAL(p,s); None for any other type."""
    match = _DECIMAL.fullmatch(sql_type)
    return None if match is None else (int(match[1]), int(match[2]))


def integer_range(sql_type: str) -> tuple[int, int]:
    """The least and the greatest number of an integer type."""
    bits = 8 * (TYPES[sql_type].width or 0)
    return (0, (1 << bits) - 1) if sql_type.startswith("U") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def integer_limit(sql_type: str) -> int:
    """The first number beyond a signed integer type: 2147483648 for INTEGER."""
    return 1 << (8 * (TYPES[sql_type].width or 0) - 1)
