"""Parse user SQL, check it against an allowlist, and render it again; user text is never pasted into a query."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache

from sqlglot import exp

from featurestore.compiler import allowlist, name_binder
from featurestore.compiler.parsing import SqlProblem, TooMuchSql, parse_statement, quote_sql, with_large_stack, write_sql
from featurestore.compiler.projections import struct_field
from featurestore.compiler.query import Query, text_query
from featurestore.compiler.relations import Handle
from featurestore.compiler.scopes import Relation
from featurestore.errors import brief, near

__all__ = (
    "MAX_RENDERED",
    "RESERVED",
    "SqlProblem",
    "bound_query",
    "canonical",
    "canonical_or_same",
    "column_names",
    "expanded_size",
    "literal",
    "parse_query",
    "parse_row",
    "query_problems",
    "query_tables",
    "quote_name",
    "render",
    "render_query",
    "resolve",
    "struct_reads",
)

RESERVED = "__fs_"
MAX_RENDERED = 1_000_000
"""Limit of characters of an expression after the expressions that it names are substituted."""

PARSED = 16_384
"""How many texts are kept parsed: twice those of 200 views of 20 features, each as written and as rendered. A plan goes through all of
them several times, so with a smaller number none would be there when it is asked for."""

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*|"(?:[^"]|"")+"')


def quote_name(name: str) -> str:
    """`name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


@lru_cache(maxsize=PARSED)
def _tree(sql: str) -> exp.Expr:
    """As `parse_statement`, cached. The tree is shared: do not change it."""
    return parse_statement(sql)


@lru_cache(maxsize=PARSED)
def parse_row(sql: str) -> exp.Expr:
    """Parse one row expression, cached. The tree is shared: do not change it.

    Raises: SqlProblem if it is something else, or uses what is not on the allowlist.
    """
    return with_large_stack(lambda: _checked_tree(sql, _tree(sql), allowlist.ROW), sql)


@lru_cache(maxsize=256)
def parse_query(sql: str) -> exp.Expr:
    """Parse one SELECT, cached. The tree is shared: do not change it.

    Raises: SqlProblem if it is something else, or uses what is not on the allowlist.
    """
    tree = _tree(sql)
    if not _is_query(tree):
        raise SqlProblem(f"{quote_sql(sql)} is not a SELECT; a query must be one SELECT over Iceberg tables")
    return with_large_stack(lambda: _checked_tree(sql, tree, allowlist.QUERY), sql)


def column_names(tree: exp.Expr) -> tuple[str, ...]:
    """The distinct columns that a row expression reads, as written, in order."""
    return tuple(dict.fromkeys(column.parts[0].name for column in tree.find_all(exp.Column)))


def struct_reads(tree: exp.Expr) -> tuple[str, ...]:
    """The distinct struct fields that a row expression reads, such as `place.city`, in order."""
    reads: list[str] = []
    for node in tree.walk():
        if isinstance(node, exp.Dot):
            reads.append(f"(...).{node.expression.name}")
        elif isinstance(node, exp.Column) and len(node.parts) > 1:
            reads.append(".".join(part.name for part in node.parts))
    return tuple(dict.fromkeys(reads))


def resolve(name: str, known: Collection[str]) -> str | None:
    """The known column that `name` means: the same spelling, or the only one that differs in case; else None."""
    if name in known:
        return name
    matches = [other for other in known if other.lower() == name.lower()]
    return matches[0] if len(matches) == 1 else None


def render(tree: exp.Expr, columns: Mapping[str, str]) -> str:
    """DuckDB SQL of a row expression with each column name replaced by `columns[name]`, which must be SQL rendered by this module.

    Raises: SqlProblem naming an unknown column and the nearest known ones.
    """
    root = exp.Paren(this=tree.copy())
    with_large_stack(lambda: _substitute_columns(root, columns), "the expression")
    text = write_sql(root.this, "the expression")
    if len(text) > MAX_RENDERED:
        raise TooMuchSql(
            f"the expression has {len(text)} characters after the expressions that it names are substituted; use fewer of them"
        )
    return text


def _substitute_columns(root: exp.Expr, columns: Mapping[str, str]) -> None:
    # From the leaves up, so that substituted nodes are not visited again.
    for node in reversed(list(root.walk())):
        if isinstance(node, exp.Column):
            first, *fields = [part.name for part in node.parts]
            column = resolve(first, columns)
            if column is None:
                context = f" (in {'.'.join([first, *fields])}, which reads a field of a struct)" if fields else ""
                raise SqlProblem(f"no column {brief(first)}{context}{near(first, columns)}")
            target = _as_node(columns[column])
            for name in fields:
                target = struct_field(target, name)
            node.replace(target)
        elif isinstance(node, exp.Dot):
            node.replace(struct_field(node.this, node.expression.name))


def expanded_size(tree: exp.Expr, sizes: Mapping[str, int]) -> int:
    """The approximate length of `render`'s result when the columns are replaced by texts of these sizes."""
    columns = (resolve(column.parts[0].name, sizes) for column in tree.find_all(exp.Column))
    return len(write_sql(tree, "the expression")) + sum(sizes[name] + 4 for name in columns if name is not None)


@lru_cache(maxsize=PARSED)
def canonical(sql: str) -> str:
    """The canonical form of SQL, without differences in white space, keyword case and comments.

    It is stored, and parsed and checked again wherever it is used. Raises: SqlProblem as `parse_row` and `parse_query`.
    """
    tree = _tree(sql)
    accept = parse_query if _is_query(tree) else parse_row
    checked = accept(sql)
    text = with_large_stack(lambda: str(tree.sql(dialect="duckdb", comments=False, normalize_functions="upper")), sql)
    if not with_large_stack(lambda: accept(text) == checked, sql):
        raise SqlProblem(f"{quote_sql(sql)} means something else when it is rewritten; simplify it")
    return text


def canonical_or_same(sql: str) -> str:
    """The canonical form; SQL that is not accepted, which an earlier release may have stored, is returned unchanged."""
    try:
        return canonical(sql)
    except SqlProblem:
        return sql


def query_tables(tree: exp.Expr) -> tuple[str, ...]:
    """The distinct catalog tables that a query reads, as `namespace.name`, without the names of its WITH clauses.

    Raises: SqlProblem for a table without a namespace or a table function.
    """
    with_large_stack(lambda: name_binder.bind_names(tree, None), "the query")
    names = (name_binder.table_name(table) for table in tree.find_all(exp.Table))
    return tuple(dict.fromkeys(name for name in names if name is not None))


def query_problems(tree: exp.Expr, columns: Mapping[str, Collection[str]]) -> list[str]:
    """A message for every column that is neither in a table in its scope (`columns`: table -> names) nor an alias there."""
    relations = {table: Relation(table, tuple(names), True) for table, names in columns.items()}
    return with_large_stack(lambda: name_binder.bind_names(tree, relations), "the query")[1]


def render_query(tree: exp.Expr, tables: Mapping[str, str], columns: Mapping[str, Collection[str]] | None = None) -> str:
    """DuckDB SQL of a query with each catalog table replaced by the relation `tables[name]`, and all relation names by generated ones.

    `columns` has the column names of each catalog table. Raises: SqlProblem naming an unknown column.
    """
    known = columns or {}
    relations = {table: Relation(name, tuple(known.get(table, ())), table in known) for table, name in tables.items()}
    bound, problems = with_large_stack(lambda: name_binder.bind_names(tree, relations), "the query")
    if problems:
        raise SqlProblem("; ".join(problems))
    text = write_sql(bound, "the query")
    if with_large_stack(lambda: parse_statement(text) == bound, "the query"):
        return text
    raise SqlProblem("the query means something else when it is rewritten; simplify it")


def bound_query(tree: exp.Expr, relations: Mapping[str, Handle], columns: Mapping[str, Collection[str]]) -> Query:
    """As `render_query`, over relations of a session."""
    return text_query(render_query(tree, {table: handle.name for table, handle in relations.items()}, columns))


def _is_query(tree: exp.Expr) -> bool:
    return isinstance(tree, exp.Query) and not isinstance(tree, exp.Subquery)


def _checked_tree(sql: str, tree: exp.Expr, rules: allowlist.Rules) -> exp.Expr:
    """Check a tree, and the tree of the SQL that is rendered from it, which must be equal or have the same words and the same SQL."""
    allowlist.check_tree(tree, sql, rules)
    requoted = tree.copy()
    for name in requoted.find_all(exp.Identifier):
        name.set("quoted", True)
    text = write_sql(requoted, sql)
    try:
        reparsed = _tree(text)
        if reparsed != requoted:
            allowlist.check_tree(reparsed, sql, rules)
            if _words(reparsed) != _words(requoted) or write_sql(reparsed, sql) != text:
                raise SqlProblem("the rendered SQL has another meaning")
    except TooMuchSql:
        raise
    except SqlProblem as error:
        raise SqlProblem(
            f"{quote_sql(sql)} means something else when it is rewritten as {quote_sql(text, 200)}; check the arguments of its functions"
        ) from error
    return reparsed


def _words(tree: exp.Expr) -> Counter[str]:
    return Counter(node.name for node in tree.find_all(exp.Identifier, exp.Literal))


def _as_node(sql: str) -> exp.Expr:
    """Rendered SQL as a node: a column if it is a name, else in parentheses."""
    if not _NAME.fullmatch(sql):
        return exp.Paren(this=exp.Var(this=sql))
    bare = not sql.startswith('"')
    name = sql if bare else sql[1:-1].replace('""', '"')
    return exp.Column(this=exp.Identifier(this=name, quoted=not bare))
