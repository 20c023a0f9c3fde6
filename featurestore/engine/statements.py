"""One statement a call, of a kind that the call is for."""

from collections.abc import Collection

import duckdb

from featurestore.errors import RequestError

READS = (duckdb.StatementType.SELECT,)
MAKES = tuple(getattr(duckdb.StatementType, name) for name in ("CREATE", "DROP", "INSERT", "DELETE", "ALTER"))
"""Statements on a session's own tables and views."""


def one_statement(connection: duckdb.DuckDBPyConnection, sql: str, kinds: Collection[duckdb.StatementType]) -> duckdb.Statement:
    """The text as the statement it is, parsed by the engine itself. Raises: RequestError where it is several, or of another kind."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise RequestError(f"the SQL is {len(statements)} statements, but must be one; nothing was run")
    if statements[0].type not in kinds:
        wanted = " or ".join(kind.name for kind in kinds)
        raise RequestError(f"the SQL is a {statements[0].type.name} statement, where only {wanted} is run; nothing was run")
    return statements[0]
