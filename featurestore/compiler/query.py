"""Queries as syntax trees, written as SQL of a dialect only when an engine runs them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import sqlglot
from sqlglot import ErrorLevel, exp

from featurestore.compiler.relations import Handle

DUCKDB = "duckdb"
"""The dialect that the compiler's own texts are in."""

Tree: TypeAlias = exp.Expr
"""The syntax tree of an expression or a query, for packages that pass trees on without looking into them."""
Part: TypeAlias = exp.Expr | Sequence[exp.Expr]
"""What replaces a placeholder of a template: an expression, or a list of them."""


@dataclass(frozen=True, eq=False)
class Query:
    """One SELECT. Its text in DuckDB's dialect is `str(query)`."""

    tree: exp.Expr

    def __str__(self) -> str:
        return self._duckdb

    @cached_property
    def _duckdb(self) -> str:
        return _write(self.tree, DUCKDB)


Source: TypeAlias = Query | Handle | exp.Expr
"""What a query reads from."""


def render(query: Query | Handle, dialect: str = DUCKDB) -> str:
    """The text of a query, or of a query of all rows of a relation, in a dialect."""
    if isinstance(query, Handle):
        query = _all_rows_of(query)
    return str(query) if dialect == DUCKDB else _write(query.tree.transform(_parse_text), dialect)


def write_steps(steps: Iterable[tuple[str, Query]]) -> str:
    """Temporary tables, each with its query, as one text for people to read."""
    return "\n\n".join(f"CREATE TEMP TABLE {name} AS\n{query};" for name, query in steps)


def text_query(sql: str) -> Query:
    """A query that the compiler wrote as text, of DuckDB's dialect; it stays as it is there, and is parsed for other dialects."""
    return Query(_text(sql))


def text_expression(sql: str) -> exp.Expr:
    """An expression that the compiler wrote as text, in parentheses."""
    return exp.Paren(this=_text(sql))


def text_items(items: Iterable[str]) -> list[exp.Expr]:
    """The items of a SELECT list that the compiler wrote as text."""
    return [_text(item) for item in items]


def from_sql(relation: Query | Handle | str) -> str:
    """A relation in a FROM clause that the compiler writes as text; a `str` is a plain name."""
    if isinstance(relation, Query):
        return f"({relation})"
    return relation if isinstance(relation, str) else identifier(relation.name).sql(DUCKDB)


def all_rows(relation: Source) -> Query:
    """A query of all columns and rows of a relation."""
    return Query(exp.Select(expressions=[exp.Star()], from_=exp.From(this=source(relation))))


@lru_cache(maxsize=512)
def _all_rows_of(relation: Handle) -> Query:
    return all_rows(relation)


def columns_of(rows: Source, names: Iterable[str], order: Sequence[str] = ()) -> Query:
    """These columns of all rows, ordered by the columns `order`."""
    ordered = exp.Order(expressions=[exp.Ordered(this=column(name), nulls_first=False) for name in order]) if order else None
    return Query(exp.Select(expressions=columns(names), from_=exp.From(this=source(rows)), order=ordered))


def sample_rows(rows: Source, size: int) -> Query:
    """A random sample of `size` rows; all rows if there are fewer."""
    return _SAMPLE(rows=rows, size=number(size))


def count_rows(rows: Source) -> Query:
    """A query of one row with the number of rows of a relation as `rows`."""
    return _count_rows_of(rows) if isinstance(rows, Handle) else _count_rows(rows)


@lru_cache(maxsize=512)
def _count_rows_of(relation: Handle) -> Query:
    return _count_rows(relation)


def _count_rows(rows: Source) -> Query:
    counted = with_name(exp.Count(this=exp.Star(), big_int=True), "rows")
    return Query(exp.Select(expressions=[counted], from_=exp.From(this=source(rows))))


def source(relation: Source, alias: str | None = None) -> exp.Expr:
    """A relation in a FROM clause: a name, or a query in parentheses."""
    table_alias = exp.TableAlias(this=exp.Identifier(this=alias, quoted=False)) if alias else None
    if isinstance(relation, Handle):
        return exp.Table(this=identifier(relation.name), alias=table_alias)
    if isinstance(relation, Query):
        # A text that was rendered before is not rendered again.
        written = relation.__dict__.get("_duckdb")
        return exp.Subquery(this=relation.tree if written is None else _text(written), alias=table_alias)
    return relation


def identifier(name: str) -> exp.Identifier:
    """`name` as a quoted SQL identifier."""
    return exp.Identifier(this=name, quoted=True)


def column(name: str, table: str | None = None) -> exp.Column:
    """The column `name`, of the relation with the alias `table`."""
    return exp.Column(this=identifier(name), table=exp.Identifier(this=table, quoted=False) if table else None)


def columns(names: Iterable[str], table: str | None = None) -> list[exp.Expr]:
    """Columns, as `column`."""
    return [column(name, table) for name in names]


def with_name(expression: exp.Expr, name: str) -> exp.Alias:
    """An expression under a column name."""
    return exp.Alias(this=expression, alias=identifier(name))


def cast(expression: exp.Expr, sql_type: str) -> exp.Cast:
    """An expression cast to a DuckDB type."""
    return exp.Cast(this=expression, to=_data_type(sql_type).copy())


def number(value: int) -> exp.Expr:
    """An integer as SQL."""
    return exp.Neg(this=exp.Literal.number(-value)) if value < 0 else exp.Literal.number(value)


def same_columns(names: Iterable[str], left: str, right: str) -> list[exp.Expr]:
    """For each name, the condition that the columns of two relations are equal."""
    return [exp.EQ(this=column(name, left), expression=column(name, right)) for name in names]


def all_of(conditions: Sequence[exp.Expr]) -> exp.Expr:
    """The condition that all conditions are true."""
    return exp.and_(*conditions, copy=False)


def template(sql: str) -> Callable[..., Query]:
    """A function that makes queries of constant SQL with placeholders, such as `$keys`, from an expression or a list for each.

    The text is parsed at the first call.
    """
    return lambda **parts: Query(_fill(_parse(sql), parts))


def expression_template(sql: str) -> Callable[..., exp.Expr]:
    """As `template`, for expressions."""
    return lambda **parts: _fill(_parse(sql), parts)


@lru_cache(maxsize=512)
def _parse(sql: str) -> exp.Expr:
    return sqlglot.parse_one(sql, dialect=DUCKDB)


_SAMPLE = template("SELECT * FROM $rows USING SAMPLE reservoir($size ROWS)")


def _fill(tree: exp.Expr, parts: dict[str, Part | Source]) -> exp.Expr:
    root = exp.Tuple(expressions=[tree.copy()])
    used: set[str] = set()
    for placeholder in list(root.find_all(exp.Placeholder)):
        part = parts[placeholder.name]
        # A part that is used several times is copied: a node has one parent.
        copied = placeholder.name in used
        used.add(placeholder.name)
        node = source(part) if isinstance(part, Query | Handle) else part
        if isinstance(node, exp.Expr):
            _replace(placeholder, node.copy() if copied else node)
        elif isinstance(placeholder.parent, exp.Ordered):
            placeholder.parent.replace([exp.Ordered(this=each, nulls_first=False) for each in node])
        else:
            placeholder.replace([each.copy() if copied else each for each in node])
    filled: exp.Expr = root.expressions[0]
    return filled


def _replace(placeholder: exp.Expr, node: exp.Expr) -> None:
    table = placeholder.parent
    if not isinstance(table, exp.Table):
        placeholder.replace(node)
        return
    if alias := table.args.get("alias"):
        node.set("alias", alias)
    table.replace(node)


@lru_cache(maxsize=512)
def _data_type(sql_type: str) -> exp.DataType:
    return exp.DataType.build(sql_type, dialect=DUCKDB, udt=True)


def _text(sql: str) -> exp.Var:
    node = exp.Var(this=sql)
    node.meta["text"] = True
    return node


def _parse_text(node: exp.Expr) -> exp.Expr:
    return sqlglot.parse_one(node.name, dialect=DUCKDB) if isinstance(node, exp.Var) and node.meta.get("text") else node


def _write(tree: exp.Expr, dialect: str) -> str:
    if isinstance(tree, exp.Var) and dialect == DUCKDB:
        return str(tree.name)
    # A query has its tree for itself, so it need not be copied.
    return tree.sql(dialect=dialect, copy=False, comments=False, unsupported_level=ErrorLevel.IGNORE)
