"""Expressions over a handful of values, by the same engine as training: one connection that stays open."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import duckdb

from featurestore.compiler.expressions import quoted
from featurestore.engine.connection import connect
from featurestore.engine.statements import READS, one_statement
from featurestore.engine.translation import translated
from featurestore.engine.watch import current

ZONED = "TIMESTAMP WITH TIME ZONE"
ENDS = {
    "DATE": ("DATE '0001-01-01'", "DATE '9999-12-31'"),
    "TIMESTAMP": ("TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"),
    ZONED: ("TIMESTAMPTZ '0001-01-01 00:00:00+00'", "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"),
    "HUGEINT": (f"-{10**38 - 1}", f"{10**38 - 1}"),
}
"""The first and last value of a type that Python or a table has, where the engine has more."""
KNOWN_QUERIES = 1000
"""Queries whose types are remembered at once."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Given = Mapping[str, tuple[str, Sequence[Any]]]
"""Columns by name, each with its DuckDB type and its values, as many as there are rows."""


class Evaluating(Protocol):
    """Computes SQL expressions over rows that are in memory."""

    def evaluate(self, expressions: Sequence[str], given: Given, rows: int | None = None) -> list[list[Any]]:
        """The values of each expression, one for each row."""

    def types_of(self, expressions: Sequence[str], given: Given, rows: int = 1) -> tuple[str, ...]:
        """The DuckDB types of the expressions."""


class Evaluator:
    """Computes SQL expressions over rows that are in memory; may be used from several threads at once."""

    def __init__(self, memory: str) -> None:
        self._connection = connect({"threads": 1, "temp_directory": "", "memory_limit": memory})
        self._local = threading.local()
        self._ended, self._running = threading.Condition(), 0
        self._kinds: dict[str, tuple[str, ...]] = {}

    def evaluate(self, expressions: Sequence[str], given: Given, rows: int | None = None) -> list[list[Any]]:
        """The values of each expression, one for each row, in order.

        `given` maps each column to its DuckDB type and its values, as many as there are rows, at least one. Expressions of no
        column have a value for each of the `rows` all the same.
        Raises: RequestError when an expression fails on the values.
        """
        rows = rows if rows is not None else len(next(iter(given.values()))[1]) if given else 1
        source = _source(given, rows)
        values = [list(column) for _, column in given.values()]
        watch = current()
        with self._busy(), watch.over(cursor := self._cursor()), translated(watch):
            kinds = self._types(cursor, expressions, source, values)
            held = [_held(sql, kind) for sql, kind in zip(expressions, kinds, strict=True)]
            # Times with a zone leave the engine as numbers: it wants a time-zone library of its own to make them objects.
            selected = [f"epoch_us({sql})" if kind == ZONED else sql for sql, kind in zip(held, kinds, strict=True)]
            found = cursor.execute(f"SELECT {', '.join(selected)} FROM ({source})", values).fetchall()
        results = [list(column) for column in zip(*found, strict=True)] if rows else [[] for _ in expressions]
        return [_as_times(column) if kind == ZONED else column for column, kind in zip(results, kinds, strict=True)]

    def types_of(self, expressions: Sequence[str], given: Given, rows: int = 1) -> tuple[str, ...]:
        """The DuckDB types of expressions, kept since they were evaluated; `given` as for `evaluate`."""
        values = [list(column) for _, column in given.values()]
        with translated():
            return self._types(self._cursor(), expressions, _source(given, rows), values)

    def close(self) -> None:
        """Close the connection, when what runs on it has ended."""
        with self._ended:
            self._ended.wait_for(lambda: not self._running)
            self._connection.close()

    @contextmanager
    def _busy(self) -> Iterator[None]:
        """DuckDB refuses to close a connection that works."""
        with self._ended:
            self._running += 1
        try:
            yield
        finally:
            with self._ended:
                self._running -= 1
                self._ended.notify_all()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """One cursor a thread: a cursor runs one statement at a time."""
        if not hasattr(self._local, "cursor"):
            self._local.cursor = self._connection.cursor()
        cursor: duckdb.DuckDBPyConnection = self._local.cursor
        return cursor

    def _types(self, cursor: duckdb.DuckDBPyConnection, expressions: Sequence[str], source: str, values: list[Any]) -> tuple[str, ...]:
        query = f"SELECT {', '.join(f'{sql} AS c{index}' for index, sql in enumerate(expressions))} FROM ({source})"
        types = self._kinds.get(query)
        if types is None:
            # What it is computed with below has the same text in other places.
            one_statement(cursor, query, READS)
            types = tuple(str(row[1]) for row in cursor.execute(f"DESCRIBE {query}", values).fetchall())
            if len(self._kinds) >= KNOWN_QUERIES:
                # Versions of services come and go; expressions of no column have a query for each number of rows.
                self._kinds.clear()
            self._kinds[query] = types
        return types


def _held(sql: str, kind: str) -> str:
    """The SQL of a value that is an error where Python, or the table that a training set is, has no such value."""
    scalar = kind.rstrip("[]")
    ends = ENDS.get("TIMESTAMP" if scalar in ("TIMESTAMP_S", "TIMESTAMP_MS") else scalar)
    if ends is None:
        return sql
    least, most, depth = sql, sql, kind.count("[")
    if depth:
        flat = "flatten(" * (depth - 1) + sql + ")" * (depth - 1)
        least, most = f"list_min({flat})", f"list_max({flat})"
    return f"CASE WHEN {least} < {ends[0]} OR {most} > {ends[1]} THEN error('a value that no table holds') ELSE {sql} END"


def _source(given: Given, rows: int) -> str:
    """A SELECT of the columns, whose values are its parameters, or of rows without any."""
    if not given:
        return f"SELECT unnest(range({rows})) AS __fs_one"
    columns = [f"unnest(CAST(${index} AS {kind}[])) AS {quoted(name)}" for index, (name, (kind, _)) in enumerate(given.items(), 1)]
    return f"SELECT {', '.join(columns)}"


def _as_times(column: list[int | None]) -> list[datetime | None]:
    return [None if value is None else EPOCH + timedelta(microseconds=value) for value in column]
