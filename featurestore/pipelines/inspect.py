"""Holding a view against its source: what the names and types of real columns make of the definition."""

from dataclasses import dataclass

from featurestore.compiler.events import SOURCE, Events, compile_events, field_problems, source_scope
from featurestore.compiler.expressions import SqlProblem, quoted
from featurestore.compiler.features import feature_names
from featurestore.compiler.storage import storage_type
from featurestore.compiler.views import ROWS, CompiledView, compile_view
from featurestore.compiler.windows import EXTRA_POINTS, GRID, type_problems
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import FeatureStoreError, RequestError
from featurestore.pipelines import sources
from featurestore.pipelines.parts import Parts

BOUNDS = ("events_lower", "events_upper", "lower", "upper", "now", "run")


@dataclass(frozen=True)
class Inspected:
    """A view with what its source makes of it: `columns` are the feature table's columns and DuckDB types.

    `problems` are (field, message); when there are any, the rest is None or empty.
    """

    events: Events | None
    compiled: CompiledView | None
    columns: dict[str, str]
    problems: tuple[tuple[str, str], ...]


def inspect(parts: Parts, view: FeatureView) -> Inspected:
    """Compile a checked view against its source as it is now, without reading rows."""
    with parts.engine.session() as session:
        try:
            sources.add(parts, session, view.source, None)
        except FeatureStoreError as error:
            return _failed((f"source {view.source.name}", error.message))
        raw = sources.columns(session)
        unknown = field_problems(view, list(raw))
        if unknown:
            return _failed(*unknown)
        events = compile_events(view, list(raw))
        session.set({**dict.fromkeys(BOUNDS, 0), "carry_in": False})
        wrong = _type_problems(session, view, events)
        if wrong:
            return _failed(*wrong)
        types = session.schema(events.sql)
        if view.every is not None and (misfits := type_problems(view, events, types)):
            return _failed(*misfits)
        compiled = compile_view(view, events, types)
        try:
            return _described(session, view, events, compiled)
        except FeatureStoreError as error:
            return _failed(("features", error.message))


def prepare(session: Session, view: FeatureView, events: Events) -> None:
    """Make the relation EXTRA_POINTS, empty: grid points to compute besides those that the events ask for."""
    types = session.schema(events.sql)
    columns = ", ".join(f"CAST(NULL AS {types[key]}) AS {quoted(key)}" for key in view.entity.keys)
    session.run(f"CREATE OR REPLACE TEMP TABLE {EXTRA_POINTS} AS SELECT {columns}, CAST(NULL AS BIGINT) AS {GRID} WHERE false")


def _described(session: Session, view: FeatureView, events: Events, compiled: CompiledView) -> Inspected:
    """Run every step on no rows to learn the types of its columns."""
    prepare(session, view, events)
    for name, select in compiled.steps:
        session.run(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM (\n{select}\n) LIMIT 0")
    found = session.schema(f"SELECT * FROM {ROWS}")
    problems: list[tuple[str, str]] = []
    columns: dict[str, str] = {}
    for column, kind in found.items():
        try:
            columns[column] = storage_type(kind)
        except SqlProblem as error:
            problems.append(
                (f"features.{column}" if column in feature_names(view) else f"entity {view.entity.name}.keys", f"'{column}' {error}")
            )
    return _failed(*problems) if problems else Inspected(events, compiled, columns, ())


def _type_problems(session: Session, view: FeatureView, events: Events) -> list[tuple[str, str]]:
    """Each input by itself, so that a type error names its feature; then the event time."""
    found: list[tuple[str, str]] = []
    for item in events.inputs:
        try:
            session.schema(f"SELECT {item.sql} FROM {SOURCE}")
        except RequestError as error:
            found.append((item.field, f"{item.text!r} does not fit the columns' types: {error.details.get('reason', error.message)}"))
    scope = source_scope(view.source, list(sources.columns(session)))
    for field in ("timestamp", "created"):
        column = getattr(view.source, field)
        if column:
            kind = next(iter(session.schema(f"SELECT {scope[column] if column in scope else quoted(column)} FROM {SOURCE}").values()))
            if not kind.startswith(("TIMESTAMP", "DATE")):
                found.append((f"source {view.source.name}.{field}", f"'{column}' is {kind}, not a timestamp or date"))
    if not found:
        try:
            session.schema(events.sql)
        except RequestError as error:
            found.append((f"source {view.source.name}", f"does not fit the columns' types: {error.details.get('reason', error.message)}"))
    return found


def _failed(*problems: tuple[str, str]) -> Inspected:
    return Inspected(None, None, {}, problems)
