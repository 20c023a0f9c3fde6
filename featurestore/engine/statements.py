"""The statements around queries, and the check that a text is a single statement of an allowed type."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import duckdb

from featurestore.compiler.expressions import literal, quote_name
from featurestore.compiler.query import Query, render
from featurestore.compiler.relations import FieldId
from featurestore.errors import RequestError

READS = (duckdb.StatementType.SELECT,)
WRITES = tuple(getattr(duckdb.StatementType, name) for name in ("CREATE", "DROP", "INSERT", "DELETE", "ALTER"))
"""Statements that change a session's own tables and views."""
# The lowest compression level makes files 1 % larger and saves a quarter of the time; a small dictionary limit saves another quarter
# for mostly distinct values, and makes no file larger.
PARQUET = "COMPRESSION zstd, COMPRESSION_LEVEL 1, DICTIONARY_SIZE_LIMIT 4096"

Kind: TypeAlias = Literal["TABLE", "VIEW"]


def one_statement(connection: duckdb.DuckDBPyConnection, sql: str, allowed: Collection[duckdb.StatementType]) -> duckdb.Statement:
    """The parsed statement of a text, by DuckDB's parser. Raises: RequestError for several statements or a type that is not allowed."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise RequestError(f"the SQL has {len(statements)} statements, but must have one; nothing was run")
    if statements[0].type not in allowed:
        names = " or ".join(kind.name for kind in allowed)
        raise RequestError(f"the SQL is a {statements[0].type.name} statement, but only {names} is allowed; nothing was run")
    return statements[0]


def describe(sql: str) -> str:
    """A statement that returns the names and types of a query's columns."""
    return f"DESCRIBE {sql}"


def create(kind: Kind, name: str, query: Query) -> str:
    """A statement that creates or replaces a table with the rows of a query, or a view of it."""
    return f"CREATE OR REPLACE TEMP {kind} {quote_name(name)} AS {render(query)}"


def drop(kind: Kind, name: str) -> str:
    """A statement that drops a table or view, if it exists."""
    return f"DROP {kind} IF EXISTS {quote_name(name)}"


def rename_table(name: str, to: str) -> str:
    """A statement that renames a table."""
    return f"ALTER TABLE {quote_name(name)} RENAME TO {quote_name(to)}"


def copy_to_parquet(query: Query, target: Path, ids: Mapping[str, FieldId], group_rows: int, partition: str | None = None) -> str:
    """A statement that writes the rows of a query to a Parquet file, or to files in a folder, one for each value of `partition`.

    It returns the number of rows and the files.
    """
    fields = ", ".join(f"{quote_name(name)}: {_field_id(field_id)}" for name, field_id in ids.items())
    options = f"FORMAT parquet, {PARQUET}, ROW_GROUP_SIZE {group_rows}, FIELD_IDS {{{fields}}}, RETURN_FILES true"
    if partition is not None:
        options += f", PARTITION_BY ({partition})"
    return f"COPY ({render(query)}) TO {literal(str(target))} ({options})"


def _field_id(field_id: FieldId) -> str:
    if isinstance(field_id, int):
        return str(field_id)
    list_id, element = field_id
    return f"{{__duckdb_field_id: {list_id}, element: {_field_id(element)}}}"
