"""A database in memory for a handful of rows: one thread, no file, no settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb

from featurestore.compiler.expressions import quoted
from featurestore.engine.duck import KEEP_ZEROS, DuckSession
from featurestore.engine.translation import translated


class MemorySession(DuckSession):
    """A session that also reads Python values."""

    def add_values(self, name: str, columns: Mapping[str, tuple[str | None, Sequence[Any]]]) -> None:
        """Make these columns of equally many values readable as `name`, each with its DuckDB type; None leaves it to the engine.

        Not by way of Arrow, whose library imports pandas, where that is installed, to look at a list of values: that
        would take longer than all the rest. Raises: RequestError when a value is not of its type.
        """
        wanted = [
            f"unnest({f'CAST(${index} AS {kind}[])' if kind else f'${index}'}) AS {quoted(column)}"
            for index, (column, (kind, _)) in enumerate(columns.items(), 1)
        ]
        with translated():
            values = [list(given) for _, given in columns.values()]
            self._connection.execute(f"CREATE TEMP TABLE {quoted(name)} AS SELECT {', '.join(wanted)}", values).fetchall()


@contextmanager
def memory_session() -> Iterator[MemorySession]:
    """A fresh database that reads and writes no file; it is gone when it is closed."""
    with translated():
        connection = duckdb.connect(config={"threads": 1, "enable_external_access": "false", "temp_directory": ""})
    try:
        connection.execute(f"SET timezone = 'UTC'; {KEEP_ZEROS}").fetchall()
        yield MemorySession(connection)
    finally:
        connection.close()
