"""Queries that an engine needs for its own work: its memory limit, and rows as they are added, copied or divided into files."""

from collections.abc import Mapping

from sqlglot import exp

from featurestore.compiler.expressions import quote_name
from featurestore.compiler.nanoseconds import truncate_sql
from featurestore.compiler.query import Query, Source, column, source, template, text_items, text_query

MONTH = "__fs_month"
"""The column of `by_month`."""

MEMORY_LIMIT = text_query("SELECT current_setting('memory_limit')")
"""One row with the engine's memory limit as text."""

_BY_MONTH = template(f"SELECT *, year($time) * 12 + month($time) AS {MONTH} FROM $rows")


def in_microseconds(rows: Query, types: Mapping[str, str]) -> Query:
    """Rows with columns of these types, with nanoseconds truncated; the query itself if no column has any."""
    truncated = {name: truncate_sql(quote_name(name), sql_type) for name, sql_type in types.items()}
    if not any(truncated.values()):
        return rows
    items = [quote_name(name) if sql is None else f"{sql} AS {quote_name(name)}" for name, sql in truncated.items()]
    return Query(exp.Select(expressions=text_items(items), from_=exp.From(this=source(rows))))


def by_month(rows: Query, time: str) -> Query:
    """Rows with the number of the month of the column `time` as MONTH."""
    return _BY_MONTH(rows=rows, time=column(time))


def with_types(rows: Source, types: Mapping[str, str]) -> Query:
    """The columns of a relation, cast to these types."""
    casts = text_items(f"CAST({quote_name(name)} AS {sql_type}) AS {quote_name(name)}" for name, sql_type in types.items())
    return Query(exp.Select(expressions=casts, from_=exp.From(this=source(rows))))
