"""Check definitions without reading any data; one pass finds all problems."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from featurestore.compiler.check_database import database_problems
from featurestore.compiler.check_policy import policy_problems
from featurestore.compiler.check_pushed import pushed_problems
from featurestore.compiler.check_service import service_problems
from featurestore.compiler.check_source import file_problems
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
from featurestore.compiler.grid import grid_step
from featurestore.compiler.shapes import has_valid_shape, shape_problems
from featurestore.dsl.agg import ALL, Aggregation
from featurestore.dsl.definitions import Definitions, owner_of
from featurestore.dsl.durations import microseconds
from featurestore.dsl.entity import Entity
from featurestore.dsl.expression import Expression
from featurestore.dsl.problems import FieldProblem, problems_at
from featurestore.dsl.reserved_words import RESERVED_WORDS
from featurestore.dsl.source import Source
from featurestore.dsl.view import CONTINUOUS, STALE_MODES, FeatureView
from featurestore.errors import Problem, brief, near

FUNCTIONS = ("count", "count_distinct", "sum", "mean", "min", "max", "stddev", "percentile", "first", "last", "last_n")
MAX_ROWS = 1_000
"""The most rows of a window that has a number of rows: some aggregations list them at each event."""
MOST_EVENTS = 1_000_000
TIME_COLUMNS = ("feature_timestamp", "created_timestamp")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def definition_problems(definitions: Definitions) -> list[Problem]:
    """All problems of the definitions themselves."""
    checks: Sequence[tuple[Iterable[object], Callable[..., Iterator[FieldProblem]]]] = (
        (definitions.entities, entity_problems),
        (definitions.sources, source_problems),
        (definitions.views, view_problems),
        (definitions.services, service_problems),
    )
    result: list[Problem] = []
    for items, check in checks:
        for item in items:
            # The content of objects with arguments of wrong types cannot be checked.
            content_problems = check(item) if has_valid_shape(item) else ()
            name_problems = problems_at(owner_of(item), "name", _name_faults(item))
            result.extend(map(definitions.locate, (*name_problems, *shape_problems(item), *content_problems)))
    for policy in definitions.policies:
        result.extend(map(definitions.locate, policy_problems(policy)))
    return result


def _name_faults(item: object) -> Iterator[str]:
    """Check that a name is usable as a table and column name everywhere."""
    name = getattr(item, "name", "")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        yield f"{brief(name)} is not a name: letters, digits and _ only, not beginning with a digit, at most 128 characters"
    elif name.startswith(RESERVED):
        yield f"names that begin with {RESERVED} are the store's own"


def entity_problems(entity: Entity) -> Iterator[FieldProblem]:
    """Check that there is at least one key, each once, and none with a reserved name."""
    return problems_at(owner_of(entity), "keys", _keys_faults(entity.keys))


def _keys_faults(keys: Sequence[str]) -> Iterator[str]:
    if not keys:
        yield "is empty; name the column or columns that identify one"
    if len({key.lower() for key in keys}) < len(keys):
        yield f"{brief(list(keys))} names a column twice"
    for key in keys:
        if not key or key.startswith(RESERVED) or key in TIME_COLUMNS:
            yield f"{brief(key)} cannot be a key column; the store uses that name"


def source_problems(source: Source) -> Iterator[FieldProblem]:
    """Check that there is one place to read from, one event time, and SQL that parses."""
    owner = owner_of(source)
    places = [name for name in ("table", "path", "sql", "schema") if getattr(source, name) is not None]
    if len(places) != 1 and source.url is None:
        message = f"give exactly one of table=, path=, sql= and schema=; there {'are ' + ', '.join(places) if places else 'is none'}"
        yield FieldProblem(owner, "table", message)
    yield from database_problems(source)
    if source.pushed:
        yield from pushed_problems(source)
    if source.table is not None and source.url is None and len(source.table.split(".")) < 2:
        yield FieldProblem(owner, "table", f"{brief(source.table)} has no namespace; write namespace.name")
    yield from file_problems(source)
    if source.sql is not None:
        try:
            query_tables(parse_query(source.sql))
            canonical(source.sql)
        except SqlProblem as error:
            yield FieldProblem(owner, "sql", str(error))
    if source.created == "":
        yield FieldProblem(owner, "created", "is empty; name the column that says when a row became known, or leave it out")
    if not source.timestamp:
        yield FieldProblem(owner, "timestamp", "is missing; name the column that says when a row happened")
    sizes: dict[str, int] = {}
    for name, sql in source.columns.items():
        field = f"columns.{name:.128}"
        if name.startswith(RESERVED):
            yield FieldProblem(owner, field, f"names that begin with {RESERVED} are the store's own")
        yield from problems_at(owner, field, sql_faults(sql))
        yield from problems_at(owner, field, size_faults(name, sql, sizes))
    if source.where is not None:
        yield from problems_at(owner, "where", sql_faults(source.where))


def sql_faults(sql: str, known: Sequence[str] | None = None, argument: str = "") -> Iterator[str]:
    """Check that row SQL parses, is on the allowlist, and reads only `known` features (None: any columns).

    `argument` is the name of the argument with the SQL, if the problem's field does not say it.
    """
    if not is_text(sql):
        yield f"{argument}{'=' if argument else 'is '}{brief(sql)}{' is not text' if argument else ''}; write row SQL as text"
        return
    try:
        tree = parse_row(sql)
        canonical(sql)
    except SqlProblem as error:
        stripped = sql.strip()
        hint = f"; the column of that name is written '\"{stripped}\"'" if stripped.lower() in RESERVED_WORDS else ""
        yield f"{argument}{': ' if argument else ''}{error}{hint}"
        return
    for column in column_names(tree):
        if known is not None and resolve(column, known) is None:
            yield f"no column {brief(column)}{near(column, known)}"
    if known is not None:
        # Columns of feature tables and request fields are never structs.
        for read in struct_reads(tree):
            hint = "write the name alone, or read the field where the source is read: in a feature's row SQL, columns= or where="
            yield f"'{read}' reads a field of a struct, and a feature is never one; {hint}"


def is_text(value: object) -> bool:
    """Whether a value given as SQL is text, whatever its declared type."""
    return isinstance(value, str)


def size_faults(name: str, sql: str, sizes: dict[str, int]) -> Iterator[str]:
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
        yield f"has {sizes[name]} characters after the expressions that it names are substituted; the limit is {MAX_RENDERED}"
        sizes[name] = 0


def duration_faults(duration: object, argument: str = "") -> Iterator[str]:
    """Check that a duration parses and is longer than zero."""
    try:
        if microseconds(duration) == 0:  # type: ignore[arg-type]
            yield f"{argument}{brief(duration)} must be longer than zero"
    except ValueError as error:
        yield f"{argument}{error}"


def view_problems(view: FeatureView) -> Iterator[FieldProblem]:
    """Check windows against the grid, features against the type of view, names for collisions, and the view's data checks."""
    owner = owner_of(view)
    every_faults = [] if view.every in (None, CONTINUOUS) else list(duration_faults(view.every))
    yield from problems_at(
        owner, "every", [f"{fault}, or '{CONTINUOUS}'" if "is not a duration" in fault else fault for fault in every_faults]
    )
    grid = None if view.every is None or every_faults else grid_step(view)
    yield from problems_at(owner, "ttl", _ttl_faults(view))
    yield from _stale_problems(view)
    yield from problems_at(owner, "limit", _limit_faults(view))
    if not view.declared:
        yield FieldProblem(owner, "features", "is empty; a view needs at least one feature")
    names: list[str] = []
    sizes: dict[str, int] = {}
    for key, feature in view.declared.items():
        name = str(key)
        yield from problems_at(owner, f"features.{name:.128}", _feature_faults(name, feature, view, grid, names, sizes))
    yield from check_problems(view)


def _stale_problems(view: FeatureView) -> Iterator[FieldProblem]:
    owner = owner_of(view)
    if view.stale not in STALE_MODES:
        modes = ", ".join(map(repr, STALE_MODES))
        yield FieldProblem(owner, "stale", f"is {brief(view.stale)}; it must be one of {modes}{near(str(view.stale), STALE_MODES)}")
    if view.stale_after is not None:
        yield from problems_at(owner, "stale_after", duration_faults(view.stale_after))
    elif view.stale != "value":
        yield FieldProblem(owner, "stale", "has no effect without stale_after; say after what time the view is stale")


def _limit_faults(view: FeatureView) -> Iterator[str]:
    if view.limit is None:
        return
    if view.every != CONTINUOUS:
        yield f"is the most events of a window that ends now, which every='{CONTINUOUS}' makes; take it out"
    if not (type(view.limit) is int and 1 <= view.limit <= MOST_EVENTS):
        yield f"is {brief(view.limit)}; it must be a whole number from 1 to {MOST_EVENTS:,}"


def _ttl_faults(view: FeatureView) -> Iterator[str]:
    if view.ttl is None:
        return
    if view.every is not None:
        yield "an aggregate view takes no ttl: its windows bound how old a value can be; take it out"
    elif view.ttl != 0:
        try:
            microseconds(view.ttl)  # type: ignore[arg-type]
        except ValueError as error:
            yield str(error)


def _feature_faults(
    name: str, feature: object, view: FeatureView, grid: int | None, names: list[str], sizes: dict[str, int]
) -> Iterator[str]:
    """Check a declared feature; `names` and `sizes` are those of the features before it, and its own are added."""
    columns = [name]
    if isinstance(feature, Aggregation):
        yield from aggregation_faults(feature, view, grid)
        columns = list(feature.columns(name))
    elif isinstance(feature, Expression):
        yield from sql_faults(feature.sql, names)
        yield from size_faults(name, feature.sql, sizes)
    elif not isinstance(feature, str):
        yield f"is {brief(feature)}; write row SQL, agg.<function>(...) or Expression(...)"
    elif view.every is not None:
        yield "is row SQL in an aggregate view; use agg.last(...), or Expression(...) over the other features"
    else:
        yield from sql_faults(feature)
    for column in columns:
        yield from feature_name_faults(column, names, view)
    names.extend(columns)


def feature_name_faults(name: str, before: Sequence[str], view: FeatureView) -> Iterator[str]:
    """Check that a feature's name is valid, and differs from other features, keys and time columns."""
    if not NAME.fullmatch(name) or name.startswith(RESERVED):
        yield f"{brief(name)} is not a feature name: letters, digits and _ only, not beginning with a digit or {RESERVED}"
    if name.lower() in {other.lower() for other in before}:
        yield f"another feature of the view is called {brief(name)}"
    if name.lower() in {*TIME_COLUMNS, *(key.lower() for key in view.entity.keys)}:
        yield f"'{name}' is the name of a key or time column of the feature table; call the feature something else"


def window_faults(aggregation: Aggregation, view: FeatureView, grid: int | None) -> Iterator[str]:
    """Check that an aggregation has windows of time, which are multiples of the grid, or numbers of rows, each once."""
    over, last, is_sequence = aggregation.over, aggregation.last, aggregation.function == "last_n"
    if over is None and last is None and not is_sequence:
        yield f"has no window; give over=, such as '7d' or '{ALL}', or last=, a number of rows"
    if over is not None and last is not None:
        yield "has over= and last=; give one of them, and declare two features for both"
    if last is not None and is_sequence:
        yield "agg.last_n takes the number of rows as n=, not as last="
    for argument, example, windows in (("over", "over='7d'", over), ("last", "last=10", last)):
        if windows is not None and not windows:
            yield f"{argument}= is empty; name at least one window, such as {example}"
        if windows is not None and len(set(map(repr, windows))) < len(windows):
            yield f"{argument}={brief(list(windows))} names a window twice"
    for window in (window for window in over or () if window != ALL):
        faults = list(duration_faults(window, "over="))
        # `all` is a window, but not a duration.
        yield from (f"{fault}, or '{ALL}'" if "is not a duration" in fault else fault for fault in faults)
        if not faults and grid and microseconds(window) % grid:
            yield f"the window '{window}' is not a multiple of every='{view.every}'"
    for rows in last or ():
        if not (type(rows) is int and 1 <= rows <= MAX_ROWS):
            yield f"last={brief(rows)} must be a whole number from 1 to {MAX_ROWS}"
    if is_sequence and (over is None or ALL in over) and type(aggregation.n) is int and aggregation.n > MAX_ROWS:
        yield f"n={aggregation.n} is more than {MAX_ROWS}, the most over the whole history"


def aggregation_faults(aggregation: Aggregation, view: FeatureView, grid: int | None) -> Iterator[str]:
    """Check that the function is known, has the arguments it needs, and its windows are multiples of the grid."""
    if view.every is None:
        yield "is an aggregation, which needs a time grid; give the view every='1d' or the like"
    if aggregation.function not in FUNCTIONS:
        yield f"no aggregation {brief(aggregation.function)}{near(str(aggregation.function), FUNCTIONS)}"
    if aggregation.column is None and aggregation.function != "count":
        yield f"agg.{aggregation.function} needs a column"
    for argument, sql in (("column", aggregation.column), ("where", aggregation.where)):
        if sql is not None:
            yield from sql_faults(sql, argument=argument)
    yield from window_faults(aggregation, view, grid)
    if aggregation.function == "last_n" and not (type(aggregation.n) is int and aggregation.n > 0):
        yield f"n={brief(aggregation.n)} must be a whole number above 0"
    if aggregation.function == "percentile" and not (type(aggregation.q) in (int, float) and 0 <= float(aggregation.q or 0) <= 1):
        yield f"q={brief(aggregation.q)} must be between 0 and 1"
