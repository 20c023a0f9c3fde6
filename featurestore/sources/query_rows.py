"""A user's SELECT over tables runs in a session that opens no file: it has those tables under names of its own, and nothing else."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import pyarrow as pa
from sqlglot import exp

from featurestore.engine.rereadable import Rereadable
from featurestore.engine.session import Relation, Session
from featurestore.engine.watch import current, use_watch
from featurestore.lakehouse.datasets import SnapshotStream, open_snapshot
from featurestore.records.runtime import Runtime
from featurestore.sources.query import add_query

QUERY = "query"
"""What the query is called in its session."""

ReadAt: TypeAlias = tuple[int | None, int | None]
"""The ids of the snapshot of a table and of the schema to read it in; None: no rows, and the snapshot's own schema."""


@contextmanager
def open_query(runtime: Runtime, tree: exp.Expr, at: Mapping[str, ReadAt], what: str) -> Iterator[pa.RecordBatchReader]:
    """The rows of a checked query over these tables as read there, to be read once while it is open.

    Raises: RequestError naming `what` and every column that no table has; NotFound.
    """
    with runtime.engine.session() as session:
        _add_tables(session, tree, _relations(runtime, at), what)
        yield session.batches(f"SELECT * FROM {QUERY}")


def query_rows(runtime: Runtime, tree: exp.Expr, at: Mapping[str, ReadAt], what: str) -> Rereadable:
    """The same rows, to be read as often as one likes. Raises: as `open_query`."""
    relations, watch = _relations(runtime, at), current()
    with runtime.engine.session() as session:
        _add_tables(session, tree, relations, what)
        schema = session.batches(f"SELECT * FROM {QUERY} LIMIT 0").schema

    def batches() -> Iterator[pa.RecordBatch]:
        # They are asked for by a thread of the engine, which does not know what it works for.
        with ExitStack() as opened:
            with use_watch(watch):
                session = opened.enter_context(runtime.engine.session())
            _add_tables(session, tree, relations, what)
            yield from session.batches(f"SELECT * FROM {QUERY}")

    return Rereadable(schema, batches)


def query_columns(runtime: Runtime, tree: exp.Expr, at: Mapping[str, ReadAt], what: str) -> dict[str, str]:
    """The columns of a checked query over tables as read there, and their DuckDB types. Raises: as `open_query`, and TypeMismatch
    for a column whose values would not arrive as they are.
    """
    with runtime.engine.brief() as session:
        _add_tables(session, tree, _relations(runtime, {name: (None, schema) for name, (_, schema) in at.items()}), what)
        # Only what hands rows on tells which columns cannot be.
        session.batches(f"SELECT * FROM {QUERY} LIMIT 0")
        return session.schema(f"SELECT * FROM {QUERY}")


def _relations(runtime: Runtime, at: Mapping[str, ReadAt]) -> dict[str, Relation]:
    found = {name: open_snapshot(runtime.source_table(name), *read_at) for name, read_at in at.items()}
    return {name: Rereadable(rows.schema, rows.read) if isinstance(rows, SnapshotStream) else rows for name, rows in found.items()}


def _add_tables(session: Session, tree: exp.Expr, relations: Mapping[str, Relation], what: str) -> None:
    names = {table: f"table_{index}" for index, table in enumerate(relations)}
    for table, relation in relations.items():
        session.add(names[table], relation)
    add_query(session, QUERY, tree, names, what)
