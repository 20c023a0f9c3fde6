"""The rows of a continuous view after its watermark, as they are if no more events come: where events of the last run leave windows.

They are computed as the rows of any run, from the source as the last run read it, so that they equal the rows of the next run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from featurestore.compiler.chunk_rows import cast_rows
from featurestore.compiler.events import events_of
from featurestore.compiler.features import feature_names
from featurestore.compiler.grid import has_unbounded_windows, longest_window
from featurestore.compiler.query import Query
from featurestore.compiler.rows_ahead import rows_ahead
from featurestore.dsl.view import CONTINUOUS, FeatureView
from featurestore.engine.session import Session
from featurestore.errors import NotFound
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.planned_scan import PlannedScan
from featurestore.lakehouse.table import Table
from featurestore.online.ahead import AT, KNOWN, MOST_ROWS, UNTIL
from featurestore.pipelines.materialization import source_columns
from featurestore.pipelines.materialization.compute import Task, create_tiles
from featurestore.pipelines.materialization.interval import Span
from featurestore.records import feature_table
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.pinned_source import PinnedSource, open_source_at
from featurestore.sources.raw_rows import PinnedRows
from featurestore.values import times


def has_rows_ahead(view: FeatureView) -> bool:
    """Whether rows ahead of a view are published: those of a grid would begin at its next grid time, and change with each event."""
    return view.every == CONTINUOUS


@contextmanager
def compute_rows_ahead(
    runtime: Runtime, session: Session | None, applied: Applied, view: FeatureView, table: Table, through: int
) -> Iterator[tuple[Session, Query] | None]:
    """A session and the query of the rows ahead of `through` (microseconds) in it, one row per key as `rows_ahead` has it.

    None if the source is not any more what the last run read. `session` may read the files of the source; without it, one is opened.
    """
    state = feature_table.state_of(table.properties)
    view = replace(view, source=reading.with_known_types(view.source, state.types))
    source = _open_source(runtime, view, state)
    if source is None:
        yield None
    elif session is not None:
        yield session, _query(runtime, session, applied, view, table, source, through)
    else:
        folders = [*reading.source_folders(source), *data_folders(runtime.operator.grant(table))]
        with runtime.engine.session(folders) as session:
            yield session, _query(runtime, session, applied, view, table, source, through)


def _open_source(runtime: Runtime, view: FeatureView, state: feature_table.State) -> PinnedSource | None:
    try:
        return open_source_at(runtime, view.source, state.sources)
    except NotFound:
        return None


def _query(
    runtime: Runtime, session: Session, applied: Applied, view: FeatureView, table: Table, source: PinnedSource, through: int
) -> Query:
    state = feature_table.state_of(table.properties)
    raw = source_columns.add_columns(runtime, session, view, source)
    events = events_of(source_columns.bind_source(view, source, raw, state))
    reach = longest_window(view) + 1
    span = Span(through + 1, through + reach, max(through - reach, times.FIRST), through, history=has_unbounded_windows(view))
    stored = PlannedScan(runtime.operator.grant(table), None, None)
    task = Task(session, applied, view, events, table, PinnedRows(runtime, source), through, stored, 0)
    types = session.schema(events.within(raw.relation, span.bounds))
    compiled, _ = create_tiles(task, span, types)
    *steps, (_, rows) = compiled.each
    for name, step in steps:
        session.create_table(name, step)
    return rows_ahead(cast_rows(task.columns, rows), task.keys, feature_names(view), (AT, KNOWN, UNTIL), MOST_ROWS)
