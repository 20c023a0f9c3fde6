"""Check and compile a view against the names and types of its source's columns."""

from collections.abc import Mapping
from dataclasses import dataclass

from featurestore.compiler import nanoseconds
from featurestore.compiler.data_checks import check_field
from featurestore.compiler.events import SOURCE, Events, compile_events, field_problems, input_sql, known_scope
from featurestore.compiler.expressions import SqlProblem, column_names, parse_row, quoted, resolve
from featurestore.compiler.features import feature_names
from featurestore.compiler.grid import type_problems
from featurestore.compiler.relations import Handle
from featurestore.compiler.storage import storage_type
from featurestore.compiler.typed_columns import expression_over, typed_nulls, without_rows
from featurestore.compiler.views import CompiledView, compile_view
from featurestore.compiler.zero_divisors import row_sql
from featurestore.dsl.check import Condition
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.problems import FieldProblem, Owner
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import FeatureStoreError, RequestError

BOUNDS = ("events_lower", "events_upper", "lower", "upper", "now", "run")


@dataclass(frozen=True)
class Inspected:
    """A view compiled against its source; `columns` maps the feature table's columns to DuckDB types.

    If there are `problems`, the rest is None or empty.
    """

    events: Events | None
    compiled: CompiledView | None
    columns: dict[str, str]
    problems: tuple[FieldProblem, ...]


def inspect_view(session: Session, view: FeatureView) -> Inspected:
    """Compile a checked view against the relation SOURCE of the session, without reading rows."""
    raw = raw_columns(session)
    session.set({**dict.fromkeys(BOUNDS, 0), "carry_in": False})
    wrong = [*field_problems(view, list(raw)), *_type_problems(session, view, raw)]
    if wrong:
        return failed_inspection(*wrong)
    events = compile_events(view, list(raw))
    types = session.schema(events.sql)
    if view.every is not None and (wrong := type_problems(view, events, types)):
        return failed_inspection(*wrong)
    compiled = compile_view(view, events, types)
    try:
        return _describe(session, view, events, compiled)
    except FeatureStoreError as error:
        return failed_inspection(FieldProblem(owner_of(view), "features", error.message))


def name_problems(session: Session, view: FeatureView) -> list[FieldProblem]:
    """The unknown names in a view, which may have other problems; its source is checked."""
    raw = list(raw_columns(session))
    return [*field_problems(view, raw), *_source_type_problems(session, view.source, known_scope(view.source, raw))]


def check_type_problems(session: Session, view: FeatureView, columns: Mapping[str, str]) -> list[FieldProblem]:
    """A problem for each data check that is not a condition on the feature table's columns (name -> type)."""
    owner = owner_of(view)
    conditions = {check_field(i): check for i, check in enumerate(view.checks) if isinstance(check, Condition)}
    if not conditions:
        return []
    scope = {name: quoted(name) for name in columns}
    session.create_view(SOURCE, typed_nulls(columns))
    found = _expression_problems(session, scope, [(owner, field, check.sql) for field, check in conditions.items()])
    wrong = {problem.field for problem in found}
    for field, check in conditions.items():
        if field not in wrong and (kind := _type_of(session, f"({row_sql(check.sql, scope)})")) != "BOOLEAN":
            message = f"{check.sql!r} is {kind or 'no expression'}, not true or false; write a condition"
            found.append(FieldProblem(owner, field, message))
    return found


def raw_columns(session: Session) -> dict[str, str]:
    """The columns of SOURCE and their DuckDB types."""
    return session.schema(Handle(SOURCE))


def failed_inspection(*problems: FieldProblem) -> Inspected:
    """A view that cannot be compiled because of these problems."""
    return Inspected(None, None, {}, problems)


def _source_type_problems(session: Session, source: Source, scope: dict[str, str]) -> list[FieldProblem]:
    owner = owner_of(source)
    own = [(owner, f"columns.{name}", sql) for name, sql in source.columns.items()]
    if source.where:
        own.append((owner, "where", source.where))
    found = _expression_problems(session, scope, own)
    for role, column in (("timestamp", source.timestamp), ("created", source.created)):
        if (
            column
            and (name := resolve(column, scope))
            and (not (kind := _type_of(session, scope[name]) or "wrong").startswith(("TIMESTAMP", "DATE")) or kind in nanoseconds.TYPES)
        ):
            found.append(FieldProblem(owner, role, f"'{column}' is {kind}, not a timestamp or date{_conversion_hint(column, kind)}"))
    return found


def _conversion_hint(column: str, kind: str) -> str:
    """How to convert the column to a time, if its type allows that."""
    if kind in nanoseconds.TYPES:
        return " of microseconds; CAST its expression to TIMESTAMP"
    way = {"VARCHAR": "CAST({} AS TIMESTAMP)", "BIGINT": "to_timestamp({})", "DOUBLE": "to_timestamp({})"}.get(kind)
    made = way and way.format(quoted(column))
    return f"; make one with columns={{'event_time': {made!r}}} and timestamp='event_time'" if made else ""


def _expression_problems(session: Session, scope: dict[str, str], expressions: list[tuple[Owner, str, str]]) -> list[FieldProblem]:
    """A problem for each expression (owner, field, SQL) whose columns exist, but have types for which it is not defined."""
    found: list[FieldProblem] = []
    for owner, field, sql in expressions:
        names = column_names(parse_row(sql))
        if all(resolve(name, scope) for name in names) and _type_of(session, row_sql(sql, scope)) is None:
            kinds = ", ".join(f"{name} is {_type_of(session, scope[str(resolve(name, scope))]) or 'itself wrong'}" for name in names)
            found.append(FieldProblem(owner, field, f"{sql!r} does not work on these types: {kinds or 'it names no column'}"))
    return found


def _type_of(session: Session, sql: str) -> str | None:
    """The type of an expression over SOURCE; None if it is not defined for the types of its columns."""
    try:
        return next(iter(session.schema(expression_over(Handle(SOURCE), sql)).values()))
    except RequestError:
        return None


def _describe(session: Session, view: FeatureView, events: Events, compiled: CompiledView) -> Inspected:
    """Run every step without rows to learn the types of its columns."""
    (*_, rows) = [session.create_table(name, without_rows(query)) for name, query in compiled.steps]
    found = session.schema(rows)
    problems: list[FieldProblem] = []
    columns: dict[str, str] = {}
    for column, kind in found.items():
        try:
            columns[column] = storage_type(kind)
        except SqlProblem as error:
            owner, field = (view, f"features.{column}") if column in feature_names(view) else (view.entity, "keys")
            problems.append(FieldProblem(owner_of(owner), field, f"'{column}' {error}"))
    return failed_inspection(*problems) if problems else Inspected(events, compiled, columns, ())


def _type_problems(session: Session, view: FeatureView, raw: dict[str, str]) -> list[FieldProblem]:
    """Check each expression separately, so that a problem names its field."""
    scope = known_scope(view.source, list(raw))
    inputs = _expression_problems(session, scope, [(owner_of(view), field, sql) for sql, field in input_sql(view)])
    return [*_source_type_problems(session, view.source, scope), *inputs]
