"""What a view reads of its source, by field id: whether its names still mean the columns that the table was made from."""

from collections.abc import Mapping, Sequence

from featurestore.compiler.events import Events, compile_events, field_problems
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
from featurestore.sources import reading
from featurestore.sources.bind import Inspected, inspect_view, raw_columns
from featurestore.sources.pinned_source import PinnedSource
from featurestore.sources.type_changes import TypeChange, type_changes

Columns = Mapping[str, Mapping[str, str]]
"""The identities of the columns that are read of each source table; of a table that only a query reads, none."""


def source_events(runtime: Runtime, session: Session, view: FeatureView, source: PinnedSource, held: State) -> Events:
    """The events of a checked view over the columns that its source has at its pins.

    Raises: RequestError naming every column that is not there, with what became of it; NotFound as `sources.add`.
    """
    try:
        reading.add_source(runtime, session, source, rows=False)
    except RequestError as error:
        # What is wrong with files says itself what to do.
        advice = "" if view.source.path else "; change its definition and apply it, or give its tables their columns back"
        error.message = f"{_named(view.source)}: {error.message}{advice}"
        raise
    reading.require_keys(runtime, source, view.entity.keys)
    raw = list(raw_columns(session))
    problems = field_problems(view, raw)
    if problems:
        raise _missing(source, problems, held)
    return compile_events(view, raw)


def read_columns(source: PinnedSource, reads: Sequence[str]) -> Columns:
    """The identities of the raw columns `reads`, as of the source's pins."""
    if source.table is None:
        return {name: {} for name in source.tables}
    return {name: column_identity.column_identities(table, source.read_at(name)[1], reads) for name, table in source.tables.items()}


def have_changed(source: PinnedSource, held: State, now: Columns) -> bool:
    """Whether some column is another one, or of another type, than what the state was made from.

    An earlier release did not note what it read: then a column that was always the same is the same.
    """
    name, table = source.source.table, source.table
    if name is None or table is None:
        return False
    before = held.columns.get(name)
    return not column_identity.hold_in_every_schema(table, now[name]) if before is None else dict(before) != dict(now[name])


def check_types(session: Session, applied: Applied, view: FeatureView) -> None:
    """Hold the view against the columns of SOURCE, before any row is read.

    Raises: RequestError for an expression that does not work on them; TypeMismatch for a column that the table has no room for.
    """
    found: Inspected = inspect_view(session, view)
    if found.problems:
        told = "; ".join(map(str, found.problems))
        raise RequestError(
            f"{_named(view.source)} has changed, and the view does not work on its columns: {told}. Nothing was written."
            " Change the definition and apply it, or give the source its columns back"
        )
    changed = type_changes(applied.columns, found.columns)
    if changed:
        raise refused(applied, changed)


def refused(applied: Applied, changed: Sequence[TypeChange]) -> TypeMismatch:
    """The error of columns that a feature table has no room for."""
    return TypeMismatch(
        f"{'; '.join(change.within(applied.table) for change in changed)}; nothing was written."
        " Apply the definition again, which makes a new version of the view, or cast in the definition",
        column=changed[0].column,
        expected=changed[0].stored,
        found=changed[0].found,
    )


def _missing(source: PinnedSource, problems: Sequence[FieldProblem], held: State) -> RequestError:
    told = "; ".join(map(str, problems))
    fates = _fates(source, held)
    return RequestError(
        f"{_named(source.source)} lacks columns that the view reads: {told}{fates}. Nothing was written."
        " Give the source its columns back, or change the definition and apply it",
        source=source.source.name,
        problems=[{"field": problem.qualified_field, "message": problem.message} for problem in problems],
    )


def _fates(source: PinnedSource, held: State) -> str:
    """What became of columns that an earlier run read."""
    name, table = source.source.table, source.table
    if name is None or table is None or name not in held.columns:
        return ""
    schema_id = source.read_at(name)[1]
    names = tables.column_names(table, schema_id)
    told: list[str] = []
    for column, identity in held.columns[name].items():
        if resolve(column, names) is None:
            found = column_identity.name_in_schema(table, schema_id, identity)
            told.append(f"'{column}' was {'dropped' if found is None else f'renamed to {found!r}'} since the last run")
    return f" ({'; '.join(told)})" if told else ""


def _named(source: Source) -> str:
    return f"source {source.name} ({source.table})" if source.table is not None else f"source {source.name}"
