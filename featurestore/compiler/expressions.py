"""User SQL is parsed, checked against a white list and rendered anew; text from a user is never pasted into a query."""

from collections.abc import Collection, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from featurestore.compiler import functions
from featurestore.errors import near

RESERVED = "__fs_"


class SqlProblem(ValueError):
    """SQL from a user cannot be used; the message says which part and what to do instead."""


def quoted(name: str) -> str:
    """`name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def parse_row(sql: str) -> exp.Expr:
    """One row expression. Raises: SqlProblem when it is not one, or uses what is not on the white list."""
    tree = _parse(sql)
    _check(tree, sql, functions.ROW_NODES, functions.ROW_FUNCTIONS, functions.ANONYMOUS_ROW_FUNCTIONS, "row SQL")
    return tree


def parse_query(sql: str) -> exp.Expr:
    """One SELECT. Raises: SqlProblem when it is not one, or uses what is not on the white list."""
    tree = _parse(sql)
    if not isinstance(tree, exp.Query) or isinstance(tree, exp.Subquery):
        raise SqlProblem(f"{sql!r} is not a SELECT; a query must be one SELECT over Iceberg tables")
    _check(tree, sql, functions.QUERY_NODES, functions.QUERY_FUNCTIONS, functions.ANONYMOUS_QUERY_FUNCTIONS, "a query")
    return tree


def column_names(tree: exp.Expr) -> tuple[str, ...]:
    """The columns a row expression reads, as written, each once, in order."""
    return tuple(dict.fromkeys(column.parts[0].name for column in tree.find_all(exp.Column)))


def resolve(name: str, known: Collection[str]) -> str | None:
    """The known column that `name` means: the same spelling, or the only one that differs in case; else None."""
    if name in known:
        return name
    folded = [other for other in known if other.lower() == name.lower()]
    return folded[0] if len(folded) == 1 else None


def render(tree: exp.Expr, columns: Mapping[str, str]) -> str:
    """DuckDB SQL of a row expression with each column name replaced by `columns[name]`, itself SQL.

    Raises: SqlProblem naming an unknown column and the nearest known ones.
    """

    def replace(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column):
            return node
        first, *rest = [part.name for part in node.parts]
        found = resolve(first, columns)
        if found is None:
            raise SqlProblem(f"no column '{first}'{near(first, columns)}")
        target: exp.Expr = sqlglot.parse_one(columns[found], read="duckdb")
        for part in rest:
            target = exp.Dot(this=target, expression=exp.to_identifier(part, quoted=True))
        return target if isinstance(target, exp.Column | exp.Dot) else exp.Paren(this=target)

    return str(tree.copy().transform(replace).sql(dialect="duckdb"))


def canonical(sql: str) -> str:
    """The same SQL in one spelling: white space, case of keywords and comments do not matter."""
    return str(_parse(sql).sql(dialect="duckdb", comments=False, normalize_functions="upper"))


def query_tables(tree: exp.Expr) -> tuple[str, ...]:
    """The catalog tables a query reads, as `namespace.name`, each once; names of its own WITH clauses are not tables.

    Raises: SqlProblem for a table without a namespace or a table function.
    """
    local = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    names: list[str] = []
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            raise SqlProblem(f"{table.sql(dialect='duckdb')} is a function that reads something; name an Iceberg table: namespace.name")
        if not table.db:
            if table.name in local:
                continue
            raise SqlProblem(f"table '{table.name}' has no namespace; name an Iceberg table: namespace.name")
        names.append(".".join(part.name for part in table.parts))
    return tuple(dict.fromkeys(names))


def query_problems(tree: exp.Expr, columns: Mapping[str, Collection[str]]) -> list[str]:
    """A message for every column of a query that no table of it (`columns`: table -> names) and no alias in it has."""
    known = {name for names in columns.values() for name in names}
    known.update(alias.alias for alias in tree.find_all(exp.Alias))
    known.update(column.name for alias in tree.find_all(exp.TableAlias) for column in alias.args.get("columns") or ())
    tables = {table.alias_or_name for table in tree.find_all(exp.Table)} | {
        part.alias_or_name for part in tree.find_all(exp.Subquery, exp.CTE)
    }
    found: list[str] = []
    for column in tree.find_all(exp.Column):
        name = next((part.name for part in column.parts if part.name not in tables), column.name)
        if not isinstance(column.this, exp.Star) and resolve(name, known) is None:
            found.append(f"no column '{name}'{near(name, known)}")
    return list(dict.fromkeys(found))


def render_query(tree: exp.Expr, tables: Mapping[str, str]) -> str:
    """DuckDB SQL of a query with each catalog table replaced by the relation `tables[name]`."""

    def replace(node: exp.Expr) -> exp.Expr:
        if not (isinstance(node, exp.Table) and node.db):
            return node
        name = ".".join(part.name for part in node.parts)
        renamed = exp.to_table(quoted(tables[name]), dialect="duckdb")
        renamed.set("alias", node.args.get("alias") or exp.TableAlias(this=exp.to_identifier(node.name, quoted=True)))
        renamed.set("joins", node.args.get("joins"))
        return renamed

    return str(tree.copy().transform(replace).sql(dialect="duckdb"))


def _parse(sql: str) -> exp.Expr:
    if not isinstance(sql, str) or not sql.strip():
        raise SqlProblem("the SQL is empty")
    try:
        trees = sqlglot.parse(sql, read="duckdb")
    except SqlglotError as error:
        first = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
        where = f" near {first['highlight']!r} (line {first['line']}, column {first['col']})" if first.get("highlight") else ""
        raise SqlProblem(f"{sql!r} is not valid SQL{where}") from error
    if len(trees) != 1 or trees[0] is None:
        raise SqlProblem(f"{sql!r} is more than one statement; write one expression")
    return trees[0]


def _check(tree: exp.Expr, sql: str, nodes: Collection[str], known: Collection[str], anonymous: Collection[str], kind: str) -> None:
    for node in tree.walk():
        name = type(node).__name__
        if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
            name = "Star"
        if name in nodes or (name in known and isinstance(node, exp.Func)):
            continue
        if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
            name = node.name.lower()
        # A function that sqlglot knows under a class of its own may be listed under its plain name.
        spelled = {name, *(other.lower() for other in node.sql_names())} if isinstance(node, exp.Func) else {name}
        if not spelled.isdisjoint(anonymous):
            continue
        raise SqlProblem(_refusal(node, name, sql, known, anonymous, kind))


def _refusal(node: exp.Expr, name: str, sql: str, known: Collection[str], anonymous: Collection[str], kind: str) -> str:
    shown = node.sql(dialect="duckdb")
    if name.lower() in functions.UNSTEADY:
        return (
            f"{shown} in {sql!r} gives another answer at every call, so training and serving would differ; use a column or a request field"
        )
    if isinstance(node, exp.Query):
        return f"{sql!r} holds a subquery, which {kind} may not; make it a source of its own with sql="
    if isinstance(node, exp.AggFunc) and kind == "row SQL":
        return (
            f"{shown} in {sql!r} aggregates rows, which row SQL may not; use agg.{type(node).__name__.lower()}(..., over=...) with every="
        )
    if isinstance(node, exp.Func):
        spelled = name.lower() if isinstance(node, exp.Anonymous) else node.sql_name().lower()
        names = [*anonymous, *(getattr(exp, other).sql_name().lower() for other in known if hasattr(exp, other))]
        return f"function {spelled} in {sql!r} is not on the white list{near(spelled, names)}"
    return f"{shown!r} ({name}) in {sql!r} is not allowed in {kind}"
