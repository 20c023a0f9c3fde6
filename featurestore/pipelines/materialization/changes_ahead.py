"""The rows of a continuous view after its watermark, as they are if no more events come: where events of the last run leave windows.

They are computed as the rows of any run, from the source as the last run read it, so that they equal the rows of the next run.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa

from featurestore.compiler import changed_keys, newest_rows
from featurestore.compiler.bound_view import bind_view
from featurestore.compiler.chunk_rows import cast_rows
from featurestore.compiler.events import Events, events_of
from featurestore.compiler.features import feature_names
from featurestore.compiler.grid import has_unbounded_windows, longest_window
from featurestore.compiler.query import Query
from featurestore.compiler.relations import Handle
from featurestore.compiler.rows_ahead import rows_ahead
from featurestore.dsl.view import CONTINUOUS, FeatureView
from featurestore.engine.results import single_row
from featurestore.engine.session import Session
from featurestore.errors import NotFound
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.planned_scan import PlannedScan
from featurestore.lakehouse.table import Table
from featurestore.online import ahead
from featurestore.online.ahead import AT, KNOWN, MOST_ROWS, UNTIL
from featurestore.pipelines.materialization import source_columns
from featurestore.pipelines.materialization.affected_keys import AffectedKeys
from featurestore.pipelines.materialization.compute import Task, create_tiles
from featurestore.pipelines.materialization.interval import Span
from featurestore.pipelines.materialization.pushed_events import PushedEvents
from featurestore.records import feature_table, source_pins
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.kept.pushed_table import load_pushed_table
from featurestore.sources.pinned_source import PinnedSource, open_source_at
from featurestore.sources.raw_rows import PinnedRows, RawRows
from featurestore.values import times

CLOCKS_APART = 60_000_000
"""By how much, in microseconds, the clocks of machines that push and ask may differ, and a question may be late."""


class RowsAhead(NamedTuple):
    """A query of rows ahead in a session, one row per key as `rows_ahead` has it, and the offset of the push log that they count."""

    session: Session
    query: Query
    pushed: int | None


def has_rows_ahead(view: FeatureView) -> bool:
    """Whether rows ahead of a view are published: those of a grid would begin at its next grid time, and change with each event."""
    return view.every == CONTINUOUS


@contextmanager
def compute_rows_ahead(
    runtime: Runtime, session: Session | None, applied: Applied, view: FeatureView, table: Table, through: int
) -> Iterator[RowsAhead | None]:
    """The rows ahead of `through` (microseconds), of all keys; those of a pushed source count what is acknowledged by now.

    None if the source is not any more what the last run read. `session` may read the files of the source; without it, one is opened.
    """
    state = feature_table.state_of(table.properties)
    view = replace(view, source=reading.with_known_types(view.source, state.types))
    if view.source.pushed:
        granted = load_pushed_table(runtime.as_operator(), view.source)
        pushed = PushedEvents(runtime, view.source, granted)
        pushed.read_log()
        with runtime.engine.session(data_folders(granted)) as own:
            yield pushed_rows_ahead(runtime, own, applied, view, table, pushed, through)
        return
    source = _open_source(runtime, view, state)
    if source is None:
        yield None
        return
    folders = [*reading.source_folders(source), *data_folders(runtime.operator.grant(table))]
    with runtime.engine.session(folders) if session is None else nullcontext(session) as session:
        raw = source_columns.add_columns(runtime, session, view, source)
        events = events_of(source_columns.bind_source(view, source, raw, state))
        reach = longest_window(view) + 1
        span = Span(through + 1, through + reach, max(through - reach, times.FIRST), through, history=has_unbounded_windows(view))
        task = _task(runtime, session, applied, view, events, table, PinnedRows(runtime, source))
        yield RowsAhead(session, _rows(task, span, session.schema(events.within(raw.relation, span.bounds))), None)


def pushed_rows_ahead(
    runtime: Runtime,
    session: Session,
    applied: Applied,
    view: FeatureView,
    table: Table,
    pushed: PushedEvents,
    through: int | None,
    changed: pa.Table | None = None,
) -> RowsAhead:
    """The rows ahead of a watermark (None: all rows of a view that was never materialized) with the events of a pushed source, of the
    keys of the rows `changed`; None: of all keys. Keys of late events, which came after the run, also have a row before the watermark.
    """
    now = times.now()
    events = events_of(bind_view(view, pushed.schema.names))
    types = pushed.types(session, events, applied.table)
    task = _task(runtime, session, applied, view, events, table, pushed)
    lower, last, reach = times.FIRST if through is None else through + 1, now + CLOCKS_APART, longest_window(view) + 1

    def query(lower: int, keys: Handle | None) -> Query:
        affected = None if keys is None else AffectedKeys(keys, lower)
        events_lower = max(lower - reach, times.FIRST)
        span = Span(lower, last + reach, events_lower, last, affected=affected, history=has_unbounded_windows(view))
        return _rows(task, span, types, now - CLOCKS_APART)

    if changed is None and through is not None:
        pins = feature_table.state_of(table.properties).sources
        pin = pins.get(view.source.kept_table)
        late = pushed.not_in(session, None if pin is None else source_pins.snapshot_id(pin))
        recent = events.rows(session.add("__fs_late_events", late), times.FIRST, through)
        keys = session.create_table("__fs_late_keys", changed_keys.changed_keys(events.keys, recent))
        first = single_row(session, changed_keys.first_change(keys))["first"]
        if first is None:
            return RowsAhead(session, query(lower, None), pushed.offset)
        of_late = session.create_table("__fs_late_rows", query(int(first) + 1, keys))
        others = newest_rows.rows_of_keys(query(lower, None), task.keys, of_late, "ANTI")
        names = ahead.column_names(task.keys, feature_names(view))
        return RowsAhead(session, newest_rows.both_in_key_order(others, of_late, task.keys, names), pushed.offset)
    if changed is None:
        return RowsAhead(session, query(lower, None), pushed.offset)
    recent = events.rows(session.add("__fs_changed_events", changed), times.FIRST, last)
    keys = session.create_table("__fs_changed_keys", changed_keys.changed_keys(events.keys, recent))
    first = single_row(session, changed_keys.first_change(keys))["first"]
    return RowsAhead(session, query(lower if first is None else min(lower, int(first) + 1), keys), pushed.offset)


def _open_source(runtime: Runtime, view: FeatureView, state: feature_table.State) -> PinnedSource | None:
    try:
        return open_source_at(runtime, view.source, state.sources)
    except NotFound:
        return None


def _task(runtime: Runtime, session: Session, applied: Applied, view: FeatureView, events: Events, table: Table, source: RawRows) -> Task:
    stored = PlannedScan(runtime.operator.grant(table), None, None)
    return Task(session, applied, view, events, table, source, times.now(), stored, 0)


def _rows(task: Task, span: Span, types: dict[str, str], settled: int | None = None) -> Query:
    compiled, _ = create_tiles(task, span, types)
    *steps, (_, rows) = compiled.each
    for name, step in steps:
        task.session.create_table(name, step)
    rows = cast_rows(task.columns, rows)
    return rows_ahead(rows, task.keys, feature_names(task.view), (AT, KNOWN, UNTIL), MOST_ROWS, settled)
