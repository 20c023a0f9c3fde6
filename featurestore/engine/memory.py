"""Sessions for a few rows in memory: one thread, no files, no settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from featurestore.compiler.evaluation import value_rows
from featurestore.compiler.relations import Handle
from featurestore.engine.connection import small_cursor
from featurestore.engine.duck import DuckSession
from featurestore.engine.duckdb_errors import translate_errors
from featurestore.engine.statements import WRITES, create, one_statement
from featurestore.engine.watch import current


class MemorySession(DuckSession):
    """A session that can also read Python values."""

    def add_values(self, name: str, columns: Mapping[str, tuple[str | None, Sequence[Any]]]) -> Handle:
        """Create the table `name` from columns of equal length, each with its DuckDB type (None: inferred by DuckDB).

        Without Arrow, which imports pandas, if installed, to convert a list of values: that would take longer than all the rest.
        Raises: RequestError when a value does not have its column's type.
        """
        query = value_rows({column: sql_type for column, (sql_type, _) in columns.items()})
        with translate_errors():
            values = [list(column_values) for _, column_values in columns.values()]
            statement = one_statement(self._connection, create("TABLE", name, query), WRITES)
            self._connection.execute(statement, values).fetchall()
        self._created[name] = "TABLE"
        return Handle(name)


@contextmanager
def memory_session() -> Iterator[MemorySession]:
    """Open a session that reads and writes no files; its tables are dropped when it is closed."""
    connection = small_cursor("tests")
    try:
        yield MemorySession(connection, current())
    finally:
        connection.close()
