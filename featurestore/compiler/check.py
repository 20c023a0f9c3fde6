"""Check definitions without reading any data; one pass finds all problems."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from sqlglot.expressions import Expr

from featurestore.compiler.check_service import service_problems
from featurestore.compiler.check_source import format_problems, path_problems
from featurestore.compiler.data_checks import check_problems
from featurestore.compiler.expressions import (
    MAX_RENDERED,
    RESERVED,
    SqlProblem,
    canonical,
    column_names,
    expanded_size,
    parse_query,
    parse_row,
    query_tables,
    resolve,
    struct_reads,
)
from featurestore.compiler.shapes import has_valid_shape, shape_problems
from featurestore.dsl.agg import Aggregation
from featurestore.dsl.definitions import Definitions
from featurestore.dsl.durations import microseconds
from featurestore.dsl.entity import Entity
from featurestore.dsl.expression import Expression
from featurestore.dsl.reserved_words import RESERVED_WORDS
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.errors import Problem, brief, near

FUNCTIONS = ("count", "count_distinct", "sum", "mean", "min", "max", "stddev", "percentile", "first", "last", "last_n")
TIME_COLUMNS = ("feature_timestamp", "created_timestamp")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

Problems = Iterator[tuple[str, str]]
"""(field, message) of each problem."""


def definition_problems(definitions: Definitions) -> list[Problem]:
    """All problems of the definitions themselves."""
    checks: Sequence[tuple[str, Iterable[object], Callable[..., Problems]]] = (
        ("entity", definitions.entities, entity_problems),
        ("source", definitions.sources, source_problems),
        ("view", definitions.views, view_problems),
        ("service", definitions.services, service_problems),
    )
    result: list[Problem] = []
    for kind, items, check in checks:
        for item in items:
            name = str(getattr(item, "name", ""))
            # The content of objects with arguments of wrong types cannot be checked.
            content_problems = check(item) if has_valid_shape(item) else ()
            for field, message in (*name_problems(item, name), *shape_problems(item), *content_problems):
                result.append(definitions.problem(kind, name, field, message))
    return result


def name_problems(item: object, name: str) -> Problems:
    """Check that a name is usable as a table and column name everywhere."""
    if not isinstance(value := getattr(item, "name", ""), str) or not NAME.fullmatch(name):
        yield "name", f"{brief(value)} is not a name: letters, digits and _ only, not beginning with a digit, at most 128 characters"
    elif name.startswith(RESERVED):
        yield "name", f"names that begin with {RESERVED} are the store's own"


def entity_problems(entity: Entity) -> Problems:
    """Check that there is at least one key, each once, and none with a reserved name."""
    if not entity.keys:
        yield "keys", "is empty; name the column or columns that identify one"
    if len({key.lower() for key in entity.keys}) < len(entity.keys):
        yield "keys", f"{brief(list(entity.keys))} names a column twice"
    for key in entity.keys:
        if not key or key.startswith(RESERVED) or key in TIME_COLUMNS:
            yield "keys", f"{brief(key)} cannot be a key column; the store uses that name"


def source_problems(source: Source) -> Problems:
    """Check that there is one place to read from, one event time, and SQL that parses."""
    places = [name for name in ("table", "path", "sql") if getattr(source, name) is not None]
    if len(places) != 1:
        yield "table", f"give exactly one of table=, path= and sql=; there {'are ' + ', '.join(places) if places else 'is none'}"
    if source.table is not None and len(source.table.split(".")) < 2:
        yield "table", f"{brief(source.table)} has no namespace; write namespace.name"
    if source.path is not None:
        yield from path_problems(source.path)
    if source.format is not None:
        yield from format_problems(source)
    if source.sql is not None:
        try:
            query_tables(parse_query(source.sql))
            canonical(source.sql)
        except SqlProblem as error:
            yield "sql", str(error)
    if source.created == "":
        yield "created", "is empty; name the column that says when a row became known, or leave it out"
    if not source.timestamp:
        yield "timestamp", "is missing; name the column that says when a row happened"
    sizes: dict[str, int] = {}
    for name, sql in source.columns.items():
        if name.startswith(RESERVED):
            yield f"columns.{name:.128}", f"names that begin with {RESERVED} are the store's own"
        yield from sql_problems(f"columns.{name:.128}", sql)
        yield from size_problems(f"columns.{name:.128}", name, sql, sizes)
    if source.where is not None:
        yield from sql_problems("where", source.where)


def sql_problems(field: str, sql: str, known: Sequence[str] | None = None, argument: str = "") -> Problems:
    """Check that row SQL parses, is on the allowlist, and reads only `known` features (None: any columns).

    `argument` is the name of the argument with the SQL, if `field` does not say it.
    """
    if not is_text(sql):
        yield field, f"{argument}{'=' if argument else 'is '}{brief(sql)}{' is not text' if argument else ''}; write row SQL as text"
        return
    try:
        tree = parse_row(sql)
        canonical(sql)
    except SqlProblem as error:
        stripped = sql.strip()
        hint = f"; the column of that name is written '\"{stripped}\"'" if stripped.lower() in RESERVED_WORDS else ""
        yield field, f"{argument}{': ' if argument else ''}{error}{hint}"
        return
    for column in column_names(tree):
        if known is not None and resolve(column, known) is None:
            yield field, f"no column {brief(column)}{near(column, known)}"
    if known is not None:
        yield from struct_problems(field, tree, "a feature")


def is_text(value: object) -> bool:
    """Whether a value given as SQL is text, whatever its declared type."""
    return isinstance(value, str)


def struct_problems(field: str, tree: Expr, what: str) -> Problems:
    """Refuse reads of struct fields: columns of feature tables and request fields are never structs."""
    for read in struct_reads(tree):
        hint = "write the name alone, or read the field where the source is read: in a feature's row SQL, columns= or where="
        yield field, f"'{read}' reads a field of a struct, and {what} is never one; {hint}"


def size_problems(field: str, name: str, sql: str, sizes: dict[str, int]) -> Problems:
    """Check the size of an expression after substitution: a few expressions that name each other often can grow exponentially.

    `sizes` has the sizes of the expressions before it; this one's is added.
    """
    if not is_text(sql):
        return
    try:
        sizes[name] = expanded_size(parse_row(sql), sizes)
    except SqlProblem:
        # Invalid SQL is reported elsewhere.
        return
    if sizes[name] > MAX_RENDERED:
        yield field, f"has {sizes[name]} characters after the expressions that it names are substituted; the limit is {MAX_RENDERED}"
        sizes[name] = 0


def duration_problems(field: str, duration: object, argument: str = "") -> Problems:
    """Check that a duration parses and is longer than zero."""
    try:
        if microseconds(duration) == 0:  # type: ignore[arg-type]
            yield field, f"{argument}{brief(duration)} must be longer than zero"
    except ValueError as error:
        yield field, f"{argument}{error}"


def view_problems(view: FeatureView) -> Problems:
    """Check windows against the grid, features against the type of view, names for collisions, and the view's data checks."""
    grid: int | None = None
    if view.every is not None:
        duration_faults = list(duration_problems("every", view.every))
        yield from duration_faults
        grid = None if duration_faults else microseconds(view.every)
        if view.ttl is not None:
            yield "ttl", "an aggregate view takes no ttl: its windows bound how old a value can be; take it out"
    elif view.ttl not in (None, 0):
        try:
            microseconds(view.ttl)  # type: ignore[arg-type]
        except ValueError as error:
            yield "ttl", str(error)
    declared = view.declared
    if not declared:
        yield "features", "is empty; a view needs at least one feature"
    names: list[str] = []
    sizes: dict[str, int] = {}
    for key, feature in declared.items():
        name = str(key)
        field = f"features.{name:.128}"
        column_names_of = [name]
        if isinstance(feature, Aggregation):
            yield from aggregation_problems(field, feature, view, grid)
            column_names_of = [f"{name}_{window}" for window in feature.over if is_text(window)]
        elif isinstance(feature, Expression):
            yield from sql_problems(field, feature.sql, names)
            yield from size_problems(field, name, feature.sql, sizes)
        elif not isinstance(feature, str):
            yield field, f"is {brief(feature)}; write row SQL, agg.<function>(...) or Expression(...)"
        elif view.every is not None:
            yield field, "is row SQL in an aggregate view; use agg.last(...), or Expression(...) over the other features"
        else:
            yield from sql_problems(field, feature)
        for column_name in column_names_of:
            yield from feature_name_problems(field, column_name, names, view)
        names.extend(column_names_of)
    yield from check_problems(view)


def feature_name_problems(field: str, name: str, before: Sequence[str], view: FeatureView) -> Problems:
    """Check that a feature's name is valid, and differs from other features, keys and time columns."""
    if not NAME.fullmatch(name) or name.startswith(RESERVED):
        yield field, f"{brief(name)} is not a feature name: letters, digits and _ only, not beginning with a digit or {RESERVED}"
    if name.lower() in {other.lower() for other in before}:
        yield field, f"another feature of the view is called {brief(name)}"
    if name.lower() in {*TIME_COLUMNS, *(key.lower() for key in view.entity.keys)}:
        yield field, f"'{name}' is the name of a key or time column of the feature table; call the feature something else"


def aggregation_problems(field: str, aggregation: Aggregation, view: FeatureView, grid: int | None) -> Problems:
    """Check that the function is known, has the arguments it needs, and its windows are multiples of the grid."""
    if view.every is None:
        yield field, "is an aggregation, which needs a time grid; give the view every='1d' or the like"
    if aggregation.function not in FUNCTIONS:
        yield field, f"no aggregation {brief(aggregation.function)}{near(str(aggregation.function), FUNCTIONS)}"
    if aggregation.column is None and aggregation.function != "count":
        yield field, f"agg.{aggregation.function} needs a column"
    for argument, sql in (("column", aggregation.column), ("where", aggregation.where)):
        if sql is not None:
            yield from sql_problems(field, sql, argument=argument)
    if not aggregation.over:
        yield field, "over= is empty; name at least one window, such as over='7d'"
    windows = [window for window in aggregation.over if is_text(window)]
    if len(set(windows)) < len(windows):
        yield field, f"over={brief(list(aggregation.over))} names a window twice"
    for window in aggregation.over:
        faults = list(duration_problems(field, window, "over="))
        yield from faults
        if not faults and grid and microseconds(window) % grid:
            yield field, f"the window '{window}' is not a multiple of every='{view.every}'"
    if aggregation.function == "last_n" and not (type(aggregation.n) is int and aggregation.n > 0):
        yield field, f"n={brief(aggregation.n)} must be a whole number above 0"
    if aggregation.function == "percentile" and not (type(aggregation.q) in (int, float) and 0 <= float(aggregation.q or 0) <= 1):
        yield field, f"q={brief(aggregation.q)} must be between 0 and 1"
