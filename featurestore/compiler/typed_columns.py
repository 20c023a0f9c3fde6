"""Queries that tell or set the types of columns."""

from collections.abc import Mapping, Sequence

from sqlglot import exp

from featurestore.compiler.query import Query, Source, cast, column, source, template, text_expression, with_name

UNTYPED = '"NULL"'
"""DuckDB's type of a column that has only NULLs."""
_NO_ROWS = template("SELECT * FROM $rows LIMIT 0")


def typed_nulls(types: Mapping[str, str]) -> Query:
    """One row of NULLs with columns of these DuckDB types; a column `__fs_one` if there are none."""
    nulls = [with_name(cast(exp.Null(), sql_type), name) for name, sql_type in types.items()]
    return Query(exp.Select(expressions=nulls or [with_name(exp.Literal.number(1), "__fs_one")]))


def expressions_over(rows: Source, expressions: Sequence[str]) -> Query:
    """Compiled expressions over the columns of a relation, as `v0`, `v1` and so on."""
    selected: list[exp.Expr] = [with_name(text_expression(sql), f"v{index}") for index, sql in enumerate(expressions)]
    return Query(exp.Select(expressions=selected, from_=exp.From(this=source(rows))))


def without_rows(rows: Source) -> Query:
    """The columns of a relation, without rows."""
    return _NO_ROWS(rows=rows)


def typed_columns(rows: Source, types: Mapping[str, str], known: Mapping[str, str]) -> Query:
    """Columns of these DuckDB types; NULL for those that are not among the `known` columns of the relation."""
    casts = [with_name(cast(column(name) if name in known else exp.Null(), sql_type), name) for name, sql_type in types.items()]
    return Query(exp.Select(expressions=casts, from_=exp.From(this=source(rows))))
