"""A database in memory for a handful of rows: one thread, no file, no settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from featurestore.compiler.expressions import quoted
from featurestore.engine.connection import connect
from featurestore.engine.duck import DuckSession
from featurestore.engine.statements import MAKES, one_statement
from featurestore.engine.translation import translated
from featurestore.engine.watch import current


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
            statement = one_statement(self._connection, f"CREATE TEMP TABLE {quoted(name)} AS SELECT {', '.join(wanted)}", MAKES)
            self._connection.execute(statement, values).fetchall()


@contextmanager
def memory_session() -> Iterator[MemorySession]:
    """A fresh database that reads and writes no file; it is gone when it is closed."""
    connection = connect({"threads": 1, "temp_directory": ""})
    try:
        yield MemorySession(connection, current())
    finally:
        connection.close()
