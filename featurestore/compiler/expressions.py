"""User SQL is parsed, checked against a white list and rendered anew; text from a user is never pasted into a query."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache

from sqlglot import exp

from featurestore.compiler import scopes, whitelist
from featurestore.compiler.parsing import SqlProblem, TooMuchSql, parse, shown, with_room, write
from featurestore.compiler.scopes import Relation, struct_field
from featurestore.errors import brief, near

__all__ = (
    "MOST_RENDERED",
    "RESERVED",
    "SqlProblem",
    "canonical",
    "column_names",
    "expanded_size",
    "literal",
    "parse_query",
    "parse_row",
    "query_problems",
    "query_tables",
    "quoted",
    "render",
    "render_query",
    "resolve",
    "spelling",
    "struct_reads",
)

RESERVED = "__fs_"
MOST_RENDERED = 1_000_000
"""How many characters an expression may have once the expressions that it names are put in their places."""

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*|"(?:[^"]|"")+"')


def quoted(name: str) -> str:
    """`name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


@lru_cache(maxsize=2048)
def _tree(sql: str) -> exp.Expr:
    """As `parse`. The tree is shared by all who ask for the same text: nobody may change it."""
    return parse(sql)


@lru_cache(maxsize=2048)
def parse_row(sql: str) -> exp.Expr:
    """One row expression. Raises: SqlProblem when it is not one, or uses what is not on the white list.

    The tree is shared by all who ask for the same text: nobody may change it.
    """
    return with_room(lambda: _sound(sql, _tree(sql), whitelist.ROW), sql)


@lru_cache(maxsize=256)
def parse_query(sql: str) -> exp.Expr:
    """One SELECT. Raises: SqlProblem when it is not one, or uses what is not on the white list.

    The tree is shared by all who ask for the same text: nobody may change it.
    """
    tree = _tree(sql)
    if not _is_query(tree):
        raise SqlProblem(f"{shown(sql)} is not a SELECT; a query must be one SELECT over Iceberg tables")
    return with_room(lambda: _sound(sql, tree, whitelist.QUERY), sql)


def column_names(tree: exp.Expr) -> tuple[str, ...]:
    """The columns a row expression reads, as written, each once, in order."""
    return tuple(dict.fromkeys(column.parts[0].name for column in tree.find_all(exp.Column)))


def struct_reads(tree: exp.Expr) -> tuple[str, ...]:
    """What a row expression reads as fields of structs, such as `place.city`, each once, in order."""
    found: list[str] = []
    for node in tree.walk():
        if isinstance(node, exp.Dot):
            found.append(f"(...).{node.expression.name}")
        elif isinstance(node, exp.Column) and len(node.parts) > 1:
            found.append(".".join(part.name for part in node.parts))
    return tuple(dict.fromkeys(found))


def resolve(name: str, known: Collection[str]) -> str | None:
    """The known column that `name` means: the same spelling, or the only one that differs in case; else None."""
    if name in known:
        return name
    folded = [other for other in known if other.lower() == name.lower()]
    return folded[0] if len(folded) == 1 else None


def render(tree: exp.Expr, columns: Mapping[str, str]) -> str:
    """DuckDB SQL of a row expression with each column name replaced by `columns[name]`, itself SQL that we rendered.

    Raises: SqlProblem naming an unknown column and the nearest known ones.
    """
    made = exp.Paren(this=tree.copy())
    with_room(lambda: _put_in(made, columns), "the expression")
    text = write(made.this, "the expression")
    if len(text) > MOST_RENDERED:
        raise TooMuchSql(
            f"the expression has {len(text)} characters with the expressions that it names in their places; name fewer of them"
        )
    return text


def _put_in(made: exp.Expr, columns: Mapping[str, str]) -> None:
    # From the leaves up, so that what is put in is not looked at again.
    for node in reversed(list(made.walk())):
        if isinstance(node, exp.Column):
            first, *fields = [part.name for part in node.parts]
            found = resolve(first, columns)
            if found is None:
                named = f" (in {'.'.join([first, *fields])}, which reads a field of a struct)" if fields else ""
                raise SqlProblem(f"no column {brief(first)}{named}{near(first, columns)}")
            target = _rendered(columns[found])
            for name in fields:
                target = struct_field(target, name)
            node.replace(target)
        elif isinstance(node, exp.Dot):
            node.replace(struct_field(node.this, node.expression.name))


def expanded_size(tree: exp.Expr, sizes: Mapping[str, int]) -> int:
    """About how many characters `render` would give where the columns it names stand for texts of these sizes."""
    columns = (resolve(column.parts[0].name, sizes) for column in tree.find_all(exp.Column))
    return len(write(tree, "the expression")) + sum(sizes[name] + 4 for name in columns if name is not None)


@lru_cache(maxsize=4096)
def canonical(sql: str) -> str:
    """The same SQL in one spelling: white space, case of keywords and comments do not matter.

    It is stored, and parsed and checked again wherever it is used. Raises: SqlProblem as `parse_row` and `parse_query`.
    """
    tree = _tree(sql)
    accept = parse_query if _is_query(tree) else parse_row
    checked = accept(sql)
    text = with_room(lambda: str(tree.sql(dialect="duckdb", comments=False, normalize_functions="upper")), sql)
    if not with_room(lambda: accept(text) == checked, sql):
        raise SqlProblem(f"{shown(sql)} means something else once it is written anew; write it more plainly")
    return text


def spelling(sql: str) -> str:
    """The canonical spelling; SQL that is not accepted, as an earlier release may have stored it, is itself: it equals no other."""
    try:
        return canonical(sql)
    except SqlProblem:
        return sql


def query_tables(tree: exp.Expr) -> tuple[str, ...]:
    """The catalog tables a query reads, as `namespace.name`, each once; names of its own WITH clauses are not tables.

    Raises: SqlProblem for a table without a namespace or a table function.
    """
    with_room(lambda: scopes.bind(tree, None), "the query")
    names = (scopes.table_name(table) for table in tree.find_all(exp.Table))
    return tuple(dict.fromkeys(name for name in names if name is not None))


def query_problems(tree: exp.Expr, columns: Mapping[str, Collection[str]]) -> list[str]:
    """A message for every column that no table in its scope (`columns`: table -> names) and no alias there has."""
    relations = {table: Relation(table, tuple(names), True) for table, names in columns.items()}
    return with_room(lambda: scopes.bind(tree, relations), "the query")[1]


def render_query(tree: exp.Expr, tables: Mapping[str, str], columns: Mapping[str, Collection[str]] | None = None) -> str:
    """DuckDB SQL of a query with each catalog table replaced by the relation `tables[name]`, and all names of relations by ours.

    `columns` holds what each catalog table has. Raises: SqlProblem naming a column that is not there.
    """
    known = columns or {}
    relations = {table: Relation(name, tuple(known.get(table, ())), table in known) for table, name in tables.items()}
    bound, problems = with_room(lambda: scopes.bind(tree, relations), "the query")
    if problems:
        raise SqlProblem("; ".join(problems))
    text = write(bound, "the query")
    if with_room(lambda: parse(text) == bound, "the query"):
        return text
    raise SqlProblem("the query means something else once it is written anew; write it more plainly")


def _is_query(tree: exp.Expr) -> bool:
    return isinstance(tree, exp.Query) and not isinstance(tree, exp.Subquery)


def _sound(sql: str, tree: exp.Expr, rules: whitelist.Rules) -> exp.Expr:
    """The tree, checked, of what is written for it: the same one, or one with the same words that is written the same way."""
    whitelist.check(tree, sql, rules)
    own = tree.copy()
    for name in own.find_all(exp.Identifier):
        name.set("quoted", True)
    text = write(own, sql)
    try:
        again = _tree(text)
        if again != own:
            whitelist.check(again, sql, rules)
            if _words(again) != _words(own) or write(again, sql) != text:
                raise SqlProblem("it reads otherwise")
    except TooMuchSql:
        raise
    except SqlProblem as error:
        raise SqlProblem(
            f"{shown(sql)} means something else once it is written anew, as {shown(text, 200)}; look at the arguments of its functions"
        ) from error
    return again


def _words(tree: exp.Expr) -> Counter[str]:
    return Counter(node.name for node in tree.find_all(exp.Identifier, exp.Literal))


def _rendered(sql: str) -> exp.Expr:
    """SQL that we rendered, as a node: a name, or else in parentheses."""
    if not _NAME.fullmatch(sql):
        return exp.Paren(this=exp.Var(this=sql))
    bare = not sql.startswith('"')
    name = sql if bare else sql[1:-1].replace('""', '"')
    return exp.Column(this=exp.Identifier(this=name, quoted=not bare))
