"""Check that SQL is a single statement of an allowed type."""

from collections.abc import Collection

import duckdb

from featurestore.errors import RequestError

READS = (duckdb.StatementType.SELECT,)
WRITES = tuple(getattr(duckdb.StatementType, name) for name in ("CREATE", "DROP", "INSERT", "DELETE", "ALTER"))
"""Statements that change a session's own tables and views."""


def one_statement(connection: duckdb.DuckDBPyConnection, sql: str, allowed: Collection[duckdb.StatementType]) -> duckdb.Statement:
    """The parsed statement of a text, by DuckDB's parser. Raises: RequestError for several statements or a type that is not allowed."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise RequestError(f"the SQL has {len(statements)} statements, but must have one; nothing was run")
    if statements[0].type not in allowed:
        names = " or ".join(kind.name for kind in allowed)
        raise RequestError(f"the SQL is a {statements[0].type.name} statement, but only {names} is allowed; nothing was run")
    return statements[0]
