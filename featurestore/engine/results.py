"""Read the small results of queries: a count, or a single row."""

from typing import Any

from featurestore.compiler.query import Query, Source, count_rows
from featurestore.engine.session import Session


def count(session: Session, rows: Source) -> int:
    """The number of rows of a relation or query."""
    return int(single_row(session, count_rows(rows))["rows"])


def single_row(session: Session, query: Query) -> dict[str, Any]:
    """The row of a query that has one, by column."""
    (row,) = session.batches(query).read_all().to_pylist()
    return dict(row)
