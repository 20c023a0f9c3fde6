"""Check and compile a view against the names and types of its source's columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from featurestore.compiler import nanoseconds
from featurestore.compiler.bound_view import BoundView, RowSql, bind_row, field_problems
from featurestore.compiler.data_checks import check_field
from featurestore.compiler.events import Events, events_of
from featurestore.compiler.expressions import SqlProblem, quote_name, resolve
from featurestore.compiler.features import feature_names
from featurestore.compiler.grid import type_problems
from featurestore.compiler.parameters import NAMES, Bounds
from featurestore.compiler.relations import Handle
from featurestore.compiler.storage import storage_type
from featurestore.compiler.typed_columns import UNTYPED, typed_nulls, without_rows
from featurestore.compiler.views import compile_view
from featurestore.dsl.check import Condition
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.problems import FieldProblem, Owner
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import FeatureStoreError
from featurestore.sources.expression_types import ExpressionTypes


@dataclass(frozen=True)
class RawColumns:
    """A relation with the raw columns of a source, and their DuckDB types."""

    relation: Handle
    types: Mapping[str, str]


@dataclass(frozen=True)
class Inspected:
    """A view compiled against its source: its events, the DuckDB types of their columns, and those of the feature table's `columns`.

    If there are `problems`, the rest is None or empty.
    """

    events: Events | None
    types: Mapping[str, str]
    columns: dict[str, str]
    problems: tuple[FieldProblem, ...]


def inspect_view(session: Session, bound: BoundView, raw: RawColumns) -> Inspected:
    """Compile a checked view that is bound to the columns of its source, without reading rows."""
    view, expression_types = bound.view, ExpressionTypes(session, raw.relation, raw.types)
    # Each expression separately, so that a problem names its field.
    inputs = _expression_problems(expression_types, bound.scope, [(owner_of(view), row) for row in bound.inputs])
    wrong = [*field_problems(bound), *_source_type_problems(expression_types, bound), *inputs]
    if wrong:
        return failed_inspection(*wrong)
    events = events_of(bound)
    types = session.schema(events.within(raw.relation, _NO_TIME))
    if view.every is not None and (wrong := type_problems(view, events, types)):
        return failed_inspection(*wrong)
    try:
        return _describe(session, view, events, types, raw.relation)
    except FeatureStoreError as error:
        return failed_inspection(FieldProblem(owner_of(view), "features", error.message))


def name_problems(session: Session, bound: BoundView, raw: RawColumns) -> list[FieldProblem]:
    """The unknown names in a view, which may have other problems; its source is checked."""
    return [*field_problems(bound), *_source_type_problems(ExpressionTypes(session, raw.relation, raw.types), bound)]


def check_type_problems(session: Session, view: FeatureView, columns: Mapping[str, str]) -> list[FieldProblem]:
    """A problem for each data check that is not a condition on the feature table's columns (name -> type)."""
    owner = owner_of(view)
    conditions = {check_field(i): check for i, check in enumerate(view.checks) if isinstance(check, Condition)}
    if not conditions:
        return []
    scope = {name: quote_name(name) for name in columns}
    types = ExpressionTypes(session, typed_nulls(columns), columns)
    rows = [bind_row(name, check.sql, scope) for name, check in conditions.items()]
    problems = _expression_problems(types, scope, [(owner, row) for row in rows])
    wrong = {problem.field for problem in problems}
    for row in rows:
        sql_type = None if row.sql is None else types.of(row.sql)
        if row.field not in wrong and sql_type != "BOOLEAN":
            message = f"{row.text!r} is {sql_type or 'no expression'}, not true or false; write a condition"
            problems.append(FieldProblem(owner, row.field, message))
    return problems


def failed_inspection(*problems: FieldProblem) -> Inspected:
    """A view that cannot be compiled because of these problems."""
    return Inspected(None, {}, {}, problems)


def _source_type_problems(types: ExpressionTypes, bound: BoundView) -> list[FieldProblem]:
    source, scope = bound.view.source, bound.scope
    owner = owner_of(source)
    rows = (*bound.added, *([bound.where] if bound.where else []))
    problems = _expression_problems(types, scope, [(owner, row) for row in rows])
    for role, column in (("timestamp", source.timestamp), ("created", source.created)):
        if (
            column
            and (name := resolve(column, scope))
            and (not (sql_type := types.of(scope[name]) or "wrong").startswith(("TIMESTAMP", "DATE")) or sql_type in nanoseconds.TYPES)
        ):
            problems.append(
                FieldProblem(owner, role, f"'{column}' is {sql_type}, not a timestamp or date{_conversion_hint(column, sql_type)}")
            )
    return problems


def _conversion_hint(column: str, sql_type: str) -> str:
    """How to convert the column to a time, if its type allows that."""
    if sql_type in nanoseconds.TYPES:
        return " of microseconds; CAST its expression to TIMESTAMP"
    way = {"VARCHAR": "CAST({} AS TIMESTAMP)", "BIGINT": "to_timestamp({})", "DOUBLE": "to_timestamp({})"}.get(sql_type)
    made = way and way.format(quote_name(column))
    return f"; make one with columns={{'event_time': {made!r}}} and timestamp='event_time'" if made else ""


def _expression_problems(
    types: ExpressionTypes, scope: Mapping[str, str], expressions: Sequence[tuple[Owner, RowSql]]
) -> list[FieldProblem]:
    """A problem for each expression whose columns exist, but have types for which it is not defined."""
    problems: list[FieldProblem] = []
    types.learn([row.sql for _, row in expressions if row.sql is not None])
    for owner, row in expressions:
        if row.sql is not None and types.of(row.sql) is None:
            causes = ", ".join(f"{name} is {types.of(scope[str(resolve(name, scope))]) or 'itself wrong'}" for name in row.names or ())
            problems.append(FieldProblem(owner, row.field, f"{row.text!r} does not work on these types: {causes or 'it names no column'}"))
    return problems


_NO_TIME = Bounds(0, 0, 0, 0, carry_in=False)


def _describe(session: Session, view: FeatureView, events: Events, types: Mapping[str, str], raw: Handle) -> Inspected:
    """Run every step without rows to learn the types of its columns."""
    compiled = compile_view(view, events, types, bounds=_NO_TIME, relations=replace(NAMES, source=raw))
    *steps, (name, rows) = compiled.steps
    for table, query in steps:
        session.create_table(table, without_rows(query))
    schema = session.schema(rows)
    if any(UNTYPED in sql_type for sql_type in schema.values()):
        # A column of nothing but NULL gets its type when it is stored.
        schema = session.schema(session.create_table(name, without_rows(rows)))
    problems: list[FieldProblem] = []
    columns: dict[str, str] = {}
    for column, sql_type in schema.items():
        try:
            columns[column] = storage_type(sql_type)
        except SqlProblem as error:
            owner, at = (view, f"features.{column}") if column in feature_names(view) else (view.entity, "keys")
            problems.append(FieldProblem(owner_of(owner), at, f"'{column}' {error}"))
    return failed_inspection(*problems) if problems else Inspected(events, types, columns, ())
