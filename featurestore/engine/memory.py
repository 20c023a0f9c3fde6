"""An in-memory database for a few rows: one thread, no files, no settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from featurestore.compiler.expressions import quoted
from featurestore.compiler.relations import Handle
from featurestore.engine.connection import connect
from featurestore.engine.duck import DuckSession
from featurestore.engine.duckdb_errors import translate_errors
from featurestore.engine.statements import WRITES, one_statement
from featurestore.engine.watch import current


class MemorySession(DuckSession):
    """A session that can also read Python values."""

    def add_values(self, name: str, columns: Mapping[str, tuple[str | None, Sequence[Any]]]) -> Handle:
        """Create the table `name` from columns of equal length, each with its DuckDB type (None: inferred by DuckDB).

        Without Arrow, which imports pandas, if installed, to convert a list of values: that would take longer than all the rest.
        Raises: RequestError when a value does not have its column's type.
        """
        selected = [
            f"unnest({f'CAST(${index} AS {sql_type}[])' if sql_type else f'${index}'}) AS {quoted(column)}"
            for index, (column, (sql_type, _)) in enumerate(columns.items(), 1)
        ]
        with translate_errors():
            values = [list(column_values) for _, column_values in columns.values()]
            statement = one_statement(self._connection, f"CREATE TEMP TABLE {quoted(name)} AS SELECT {', '.join(selected)}", WRITES)
            self._connection.execute(statement, values).fetchall()
        return Handle(name)


@contextmanager
def memory_session() -> Iterator[MemorySession]:
    """Open a new database that reads and writes no files; its tables are dropped when it is closed."""
    connection = connect({"threads": 1, "temp_directory": ""})
    try:
        yield MemorySession(connection, current())
    finally:
        connection.close()
