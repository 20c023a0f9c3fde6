"""Queries of the raw rows of a pushed source, which are in its table and in the push log."""

from collections.abc import Sequence

from featurestore.compiler.expressions import quote_name
from featurestore.compiler.query import Query, from_sql, text_query
from featurestore.compiler.relations import Handle
from featurestore.dsl.source import ACKNOWLEDGED


def with_log_rows(stored: Handle, tail: Handle, names: Sequence[str]) -> Query:
    """The rows of both relations, with these columns."""
    columns = ", ".join(map(quote_name, names))
    return text_query(f"SELECT {columns} FROM {from_sql(stored)}\nUNION ALL SELECT {columns} FROM {from_sql(tail)}")


def acknowledged_since(stored: Handle, earlier: Handle) -> Query:
    """The rows that were acknowledged with the last one of `earlier` or after it; all of them if that has none."""
    newest = f"SELECT max({ACKNOWLEDGED}) FROM {from_sql(earlier)}"
    return text_query(f"SELECT * FROM {from_sql(stored)} WHERE {ACKNOWLEDGED} >= coalesce(({newest}), {ACKNOWLEDGED})")
