"""Values of scalar types as SQL."""

from datetime import UTC, date, datetime
from typing import Any

from sqlglot import exp

from featurestore.compiler.query import DUCKDB

WITHOUT_LITERALS = ("BLOB", "UUID")
"""Scalar types that no literal is written for."""


def has_literals(sql_type: str) -> bool:
    """Whether values of a type of feature tables can be written as SQL."""
    return sql_type not in WITHOUT_LITERALS and not sql_type.endswith("[]")


def typed_literal(value: Any, sql_type: str) -> str:
    """A Python value of a DuckDB type as SQL: its text, cast to the type."""
    return f"CAST({exp.Literal.string(_text(value)).sql(DUCKDB)} AS {sql_type})"


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}+00"
    if isinstance(value, date):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool | float) else str(value)
