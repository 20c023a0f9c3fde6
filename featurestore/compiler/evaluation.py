"""Queries that evaluate compiled expressions over a few rows, whose values are parameters."""

from collections.abc import Mapping, Sequence

from featurestore.compiler.expressions import quote_name
from featurestore.compiler.query import Query, text_query
from featurestore.values.value_types import ZONED

VALUE_RANGES = {
    "DATE": ("DATE '0001-01-01'", "DATE '9999-12-31'"),
    "TIMESTAMP": ("TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"),
    ZONED: ("TIMESTAMPTZ '0001-01-01 00:00:00+00'", "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"),
    "HUGEINT": (f"-{10**38 - 1}", f"{10**38 - 1}"),
}
"""The range of each type in Python and in tables, for types whose range is larger in DuckDB."""

SERIALIZED_PLAN = text_query("SELECT json_serialize_plan($1)")
"""One row with the plan of the query that the parameter has as text, as a JSON document."""


def over_nulls(expressions: Sequence[str], columns: Mapping[str, str]) -> Query:
    """Expressions over one row of NULLs with columns of these types, to learn their types and their plan."""
    nulls = [f"CAST(NULL AS {sql_type}) AS {quote_name(name)}" for name, sql_type in columns.items()] or ["NULL AS __fs_one"]
    selected = ", ".join(f"{sql} AS c{index}" for index, sql in enumerate(expressions))
    return text_query(f"SELECT {selected} FROM (SELECT {', '.join(nulls)})")


def over_values(expressions: Sequence[str], sql_types: Sequence[str], columns: Mapping[str, str], rows: int) -> Query:
    """Expressions of these types over rows with columns of the types `columns`, whose values are parameters in order.

    Zoned times, also in lists, are microseconds: DuckDB needs a time-zone package to make datetime objects. The query fails on a value
    that is out of range in Python, or in the table of a training set.
    """
    checked = [_within_range(sql, sql_type) for sql, sql_type in zip(expressions, sql_types, strict=True)]
    selected = [_microseconds(sql, sql_type) for sql, sql_type in zip(checked, sql_types, strict=True)]
    source = str(value_rows(columns)) if columns else f"SELECT unnest(range({rows})) AS __fs_one"
    return text_query(f"SELECT {', '.join(selected)} FROM ({source})")


def value_rows(columns: Mapping[str, str | None]) -> Query:
    """Rows of these columns and types (None: inferred), whose values are parameters in order, a list for each column."""
    selected = [
        f"unnest({f'CAST(${index} AS {sql_type}[])' if sql_type else f'${index}'}) AS {quote_name(name)}"
        for index, (name, sql_type) in enumerate(columns.items(), 1)
    ]
    return text_query(f"SELECT {', '.join(selected)}")


def _microseconds(sql: str, sql_type: str) -> str:
    """The expression with microseconds in place of zoned times."""
    if sql_type.rstrip("[]") != ZONED:
        return sql
    depth = sql_type.count("[")
    converted = f"epoch_us({f'v{depth}' if depth else sql})"
    for level in range(depth, 0, -1):
        converted = f"list_transform({f'v{level - 1}' if level > 1 else sql}, lambda v{level}: {converted})"
    return converted


def storable(sql: str, sql_type: str) -> str:
    """The expression of this type, and NULL in place of a value that is out of range in Python, or in the table of a training set."""
    condition = _out_of_range(sql, sql_type)
    return sql if condition is None else f"CASE WHEN {condition} THEN NULL ELSE {sql} END"


def _within_range(sql: str, sql_type: str) -> str:
    condition = _out_of_range(sql, sql_type)
    return sql if condition is None else f"CASE WHEN {condition} THEN error('a value that cannot be stored') ELSE {sql} END"


def _out_of_range(sql: str, sql_type: str) -> str | None:
    """Whether a value of this type is out of range; None if none ever is."""
    scalar = sql_type.rstrip("[]")
    bounds = VALUE_RANGES.get("TIMESTAMP" if scalar in ("TIMESTAMP_S", "TIMESTAMP_MS") else scalar)
    if bounds is None:
        return None
    minimum, maximum, depth = sql, sql, sql_type.count("[")
    if depth:
        flat = "flatten(" * (depth - 1) + sql + ")" * (depth - 1)
        minimum, maximum = f"list_min({flat})", f"list_max({flat})"
    return f"{minimum} < {bounds[0]} OR {maximum} > {bounds[1]}"
