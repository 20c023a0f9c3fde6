"""Evaluate SQL expressions over a few values with the same engine as training, on one connection that stays open."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb

from featurestore.compiler.evaluation import SERIALIZED_PLAN, over_nulls, over_values
from featurestore.compiler.query import render
from featurestore.compiler.scalar.row_function import RowFunction, compile_rows
from featurestore.engine.connection import small_cursor
from featurestore.engine.duckdb_errors import translate_errors
from featurestore.engine.session import ColumnValues
from featurestore.engine.statements import READS, describe, one_statement
from featurestore.engine.watch import current
from featurestore.values.epoch import EPOCH
from featurestore.values.value_types import ZONED

KNOWN_QUERIES = 1000
"""Limit of queries whose types are cached."""
MAX_COMPILED_WORK = 20_000
"""Limit of nodes times rows that are evaluated in Python, in less than a millisecond; from some 30,000 on, a query may be faster."""
MAX_COMPILED_SQL = 20_000
"""Limit of characters of expressions that are compiled to Python: the serialized plan is some fifty times as long."""


@dataclass(frozen=True)
class _Query:
    """What is known of expressions over columns: their DuckDB types, and the same in Python, if it was proven to give the same values."""

    types: tuple[str, ...]
    function: RowFunction | None


class Evaluator:
    """Computes SQL expressions over rows that are in memory; may be used from several threads at once."""

    def __init__(self, memory: str) -> None:
        self._connection = small_cursor("expressions", memory)
        self._local = threading.local()
        self._ended, self._running = threading.Condition(), 0
        self._queries: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], _Query] = {}

    def evaluate(self, expressions: Sequence[str], columns: ColumnValues, rows: int | None = None) -> list[list[Any]]:
        """The values of each expression, one for each row, in order.

        `columns` maps each column to its DuckDB type and its values, at least one. `rows` is the number of rows; by default, the
        number of values of a column. Expressions that read no column have one value per row, too.
        Raises: RequestError when an expression fails on the values.
        """
        rows = rows if rows is not None else len(next(iter(columns.values()))[1]) if columns else 1
        function = self._query(expressions, columns).function
        if function is not None and function.nodes * rows <= MAX_COMPILED_WORK:
            results = function.evaluate([values for _, values in columns.values()], rows)
            if results is not None:
                return results
        return self.evaluate_in_engine(expressions, columns, rows)

    def evaluate_in_engine(self, expressions: Sequence[str], columns: ColumnValues, rows: int) -> list[list[Any]]:
        """As `evaluate`, always by DuckDB."""
        sql_types = self._query(expressions, columns).types
        query = over_values(expressions, sql_types, {name: sql_type for name, (sql_type, _) in columns.items()}, rows)
        values = [list(column) for _, column in columns.values()]
        watch = current()
        with self._busy(), watch.over(cursor := self._cursor()), translate_errors(watch):
            rows_found = cursor.execute(render(query), values).fetchall()
        results = [list(column) for column in zip(*rows_found, strict=True)] if rows else [[] for _ in expressions]
        zoned = [sql_type.rstrip("[]") == ZONED for sql_type in sql_types]
        return [_to_datetimes(column) if is_zoned else column for column, is_zoned in zip(results, zoned, strict=True)]

    def types_of(self, expressions: Sequence[str], columns: ColumnValues, rows: int = 1) -> tuple[str, ...]:
        """The DuckDB types of expressions; `columns` as for `evaluate`."""
        return self._query(expressions, columns).types

    def row_function(self, expressions: Sequence[str], columns: Mapping[str, str]) -> RowFunction | None:
        """Expressions over columns of these DuckDB types in Python; None if one is not proven to give the same values there."""
        return self._query(expressions, {name: (sql_type, ()) for name, sql_type in columns.items()}).function

    def close(self) -> None:
        """Close the connection after running evaluations have finished."""
        with self._ended:
            self._ended.wait_for(lambda: not self._running)
            self._connection.close()

    @contextmanager
    def _busy(self) -> Iterator[None]:
        """Count running evaluations: DuckDB refuses to close a busy connection."""
        with self._ended:
            self._running += 1
        try:
            yield
        finally:
            with self._ended:
                self._running -= 1
                self._ended.notify_all()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """The cursor of this thread: a cursor runs one statement at a time."""
        if not hasattr(self._local, "cursor"):
            self._local.cursor = self._connection.cursor()
        cursor: duckdb.DuckDBPyConnection = self._local.cursor
        return cursor

    def _query(self, expressions: Sequence[str], columns: ColumnValues) -> _Query:
        """The types and the row function of expressions, cached."""
        key = tuple(expressions), tuple([(name, sql_type) for name, (sql_type, _) in columns.items()])
        query = self._queries.get(key)
        if query is None:
            watch = current()
            with self._busy(), watch.over(cursor := self._cursor()), translate_errors(watch):
                query = _bind(cursor, expressions, dict(key[1]))
            if len(self._queries) >= KNOWN_QUERIES:
                # Service versions change.
                self._queries.clear()
            self._queries[key] = query
        return query


def _bind(cursor: duckdb.DuckDBPyConnection, expressions: Sequence[str], columns: Mapping[str, str]) -> _Query:
    """Check and bind expressions over columns of these types."""
    query = render(over_nulls(expressions, columns))
    # Checks the expressions once: the SELECT that computes them contains the same text.
    one_statement(cursor, query, READS)
    types = tuple(str(row[1]) for row in cursor.execute(describe(query)).fetchall())
    if len(query) > MAX_COMPILED_SQL:
        return _Query(types, None)
    ((document,),) = cursor.execute(render(SERIALIZED_PLAN), [query]).fetchall()
    return _Query(types, compile_rows(document, columns))


def _to_datetimes(column: list[Any]) -> list[Any]:
    """Times from microseconds, also in lists."""
    return [
        None if value is None else _to_datetimes(value) if isinstance(value, list) else EPOCH + timedelta(microseconds=value)
        for value in column
    ]
