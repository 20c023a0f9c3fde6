"""The source columns that a view reads, by Iceberg field id: whether their names still mean the columns that the table was made from."""

from collections.abc import Mapping, Sequence

from featurestore.compiler.bound_view import BoundView, bind_view, field_problems
from featurestore.compiler.expressions import resolve
from featurestore.dsl.problems import FieldProblem
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import RequestError, TypeMismatch
from featurestore.lakehouse import column_identity, tables
from featurestore.records.definitions import Applied
from featurestore.records.feature_table import State
from featurestore.records.runtime import Runtime
from featurestore.sources import inspect_source, reading
from featurestore.sources.bind import Inspected, RawColumns, inspect_view
from featurestore.sources.pinned_source import PinnedSource
from featurestore.sources.type_changes import TypeChange, type_changes

Columns = Mapping[str, Mapping[str, str]]
"""The identities of the columns that are read, by source table and column name; empty for a table that only a query reads."""


def add_columns(runtime: Runtime, session: Session, view: FeatureView, source: PinnedSource) -> RawColumns:
    """Add the columns of a view's source at its pinned snapshots, without rows, to a session.

    Raises: RequestError for a source that cannot be read; NotFound as `reading.add_source`.
    """
    try:
        raw = inspect_source.add_columns(runtime, session, source)
    except RequestError as error:
        # Errors of files already say what to do.
        advice = "" if view.source.files else "; change its definition and apply it, or give its tables their columns back"
        error.message = f"{_describe_source(view.source)}: {error.message}{advice}"
        raise
    reading.require_keys(runtime, source, view.entity.keys)
    return raw


def bind_source(view: FeatureView, source: PinnedSource, raw: RawColumns, state: State) -> BoundView:
    """A checked view, bound to the raw columns of its source.

    Raises: RequestError naming every missing column, and whether it was dropped or renamed.
    """
    bound = bind_view(view, list(raw.types))
    if problems := field_problems(bound):
        raise _missing(source, problems, state)
    return bound


def read_columns(source: PinnedSource, reads: Sequence[str]) -> Columns:
    """The identities of the raw columns `reads` at the source's pinned snapshots."""
    if source.granted is None:
        return {name: {} for name in source.tables}
    return {name: column_identity.column_identities(table.table, source.read_at(name)[1], reads) for name, table in source.tables.items()}


def have_changed(source: PinnedSource, state: State, columns: Columns) -> bool:
    """Whether a column that is read has another identity or type than in the table's state.

    The state of an earlier release does not have them. Then a column is unchanged if it is the same in every schema of the source.
    """
    name, table = source.source.catalog_table, source.table
    if name is None or table is None:
        return False
    before = state.columns.get(name)
    return not column_identity.hold_in_every_schema(table, columns[name]) if before is None else dict(before) != dict(columns[name])


def check_types(session: Session, applied: Applied, bound: BoundView, raw: RawColumns) -> None:
    """Check a view's expressions and types against the raw columns of its source, before any row is read.

    Raises: RequestError for an expression that is invalid for them; TypeMismatch for a column that does not fit its type in the table.
    """
    inspected: Inspected = inspect_view(session, bound, raw)
    if inspected.problems:
        problems = "; ".join(map(str, inspected.problems))
        raise RequestError(
            f"{_describe_source(bound.view.source)} has changed, and the view does not work on its columns: {problems}."
            " Nothing was written. Change the definition and apply it, or give the source its columns back"
        )
    changed = type_changes(applied.columns, inspected.columns)
    if changed:
        raise type_mismatch(applied, changed)


def type_mismatch(applied: Applied, changed: Sequence[TypeChange]) -> TypeMismatch:
    """An error naming the columns whose values do not fit their types in a feature table."""
    return TypeMismatch(
        f"{'; '.join(change.within(applied.table) for change in changed)}; nothing was written."
        " Apply the definition again, which makes a new version of the view, or cast in the definition",
        column=changed[0].column,
        expected=changed[0].stored,
        found=changed[0].found,
    )


def _missing(source: PinnedSource, problems: Sequence[FieldProblem], state: State) -> RequestError:
    missing = "; ".join(map(str, problems))
    changes = _describe_changes(source, state)
    return RequestError(
        f"{_describe_source(source.source)} lacks columns that the view reads: {missing}{changes}. Nothing was written."
        " Give the source its columns back, or change the definition and apply it",
        source=source.source.name,
        problems=[{"field": problem.qualified_field, "message": problem.message} for problem in problems],
    )


def _describe_changes(source: PinnedSource, state: State) -> str:
    """A note on columns that the last run read and that were dropped or renamed since; empty if there are none."""
    name, table = source.source.catalog_table, source.table
    if name is None or table is None or name not in state.columns:
        return ""
    schema_id = source.read_at(name)[1]
    names = tables.column_names(table, schema_id)
    changes: list[str] = []
    for column, identity in state.columns[name].items():
        if resolve(column, names) is None:
            renamed = column_identity.name_in_schema(table, schema_id, identity)
            changes.append(f"'{column}' was {'dropped' if renamed is None else f'renamed to {renamed!r}'} since the last run")
    return f" ({'; '.join(changes)})" if changes else ""


def _describe_source(source: Source) -> str:
    return f"source {source.name} ({source.catalog_table})" if source.catalog_table is not None else f"source {source.name}"
