"""Infer the DuckDB type of a column of Python literals; mixed types are an error that names the column."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from featurestore.errors import TypeMismatch
from featurestore.values.value_types import TYPES, ZONED

_SQL = {TYPES[sql].python: sql for sql in ("BOOLEAN", "BIGINT", "DOUBLE", "VARCHAR", "BLOB", "UUID", "DATE")}
"""The DuckDB type of the values of each Python type."""


def to_python(value: Any) -> Any:
    """Convert a numpy scalar or pandas timestamp to a Python value; other values are unchanged."""
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime()
    return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value


def literal_type(values: Iterable[Any], what: str) -> str | None:
    """The DuckDB type of a column's values; None if all are NULL or structs. `what` names the column in errors.

    Raises: TypeMismatch for values of incompatible types.
    """
    present = [value for value in values if value is not None]
    types = {_value_type(value, what) for value in present}
    if types == {"BIGINT", "DOUBLE"}:
        return "DOUBLE"
    if len(types) > 1:
        raise TypeMismatch(
            f"{what} mixes {' and '.join(sorted(types))}; give every value the same type, or say the column's type in schema=", field=what
        )
    sql_type = types.pop() if types else None
    if sql_type == "DECIMAL":
        return _decimal(present)
    if sql_type == "list":
        element = literal_type((item for value in present for item in value), what)
        return f"{element}[]" if element else None
    return None if sql_type == "struct" else sql_type


def _value_type(value: Any, what: str) -> str:
    if isinstance(value, datetime):
        return ZONED if value.tzinfo else "TIMESTAMP"
    if isinstance(value, Decimal):
        return "DECIMAL"
    if isinstance(value, list | tuple):
        return "list"
    if isinstance(value, dict):
        return "struct"
    if type(value) not in _SQL:
        raise TypeMismatch(f"{what} holds {value!r}, a {type(value).__name__}, which no table can hold", field=what)
    return _SQL[type(value)]


def _decimal(values: list[Decimal]) -> str:
    """The narrowest DECIMAL that can represent all values."""
    parts = [value.as_tuple() for value in values]
    scale = max(max(-int(part.exponent), 0) for part in parts)
    whole = max(max(len(part.digits) + int(part.exponent), 0) for part in parts)
    return f"DECIMAL({max(whole + scale, 1)},{scale})"
