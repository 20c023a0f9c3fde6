"""Compute the rows of a span, chunk by chunk. What the chunks share is computed once; then each chunk has a query of its rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from featurestore.compiler import changed_keys, chunk_rows
from featurestore.compiler.aggregates import WAYS, Shortcuts
from featurestore.compiler.chunk_rows import cast_rows
from featurestore.compiler.events import DAY, Events
from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.features import feature_names
from featurestore.compiler.grid import grid_step, time_windows
from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.parameters import EVENTS, NAMES, Relations
from featurestore.compiler.query import Query, all_rows
from featurestore.compiler.relations import Handle, IcebergFiles
from featurestore.compiler.storage import storage_type
from featurestore.compiler.views import CompiledView, compile_view, row_view_rows, rows_at_point
from featurestore.dsl.view import FeatureView
from featurestore.engine.results import count, single_row
from featurestore.engine.session import Session
from featurestore.errors import RequestError, TypeMismatch
from featurestore.lakehouse import scans
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.lakehouse.table import Table
from featurestore.pipelines.materialization import chunks, source_columns
from featurestore.pipelines.materialization.affected_keys import AffectedKeys
from featurestore.pipelines.materialization.chunks import Chunk
from featurestore.pipelines.materialization.interval import Span
from featurestore.records.definitions import Applied
from featurestore.sources import reading
from featurestore.sources.raw_rows import RawRows
from featurestore.sources.type_changes import type_changes
from featurestore.values import times


class StoredRows(Protocol):
    """The rows that the feature table has in the spans of a run."""

    def read(self, columns: Sequence[str] | None = None, time: TimeRange | None = None) -> IcebergFiles | pa.RecordBatchReader:
        """Those of a time range, and maybe others, with these columns (None: all)."""


@dataclass(frozen=True)
class Task:
    """The inputs of one run, or of a bucket of its keys. `table` is the feature table at the start, `stored` are its rows in the run's
    spans, and `run` is the time of the run in microseconds. A chunk has at most `max_rows` rows.
    """

    session: Session
    applied: Applied
    view: FeatureView
    events: Events
    table: Table
    source: RawRows
    run: int
    stored: StoredRows
    max_rows: int

    @property
    def keys(self) -> list[str]:
        """The names of the key columns."""
        return list(self.view.entity.keys)

    @property
    def key_types(self) -> dict[str, str]:
        """The key columns and their DuckDB types in the feature table."""
        return {name: self.columns[name] for name in self.keys}

    @property
    def features(self) -> dict[str, str]:
        """The features and their DuckDB types."""
        return {name: self.columns[name] for name in feature_names(self.view)}

    @property
    def columns(self) -> dict[str, str]:
        """The feature table's columns and DuckDB types."""
        return dict(self.applied.columns)


@dataclass(frozen=True)
class OpenSpan:
    """A span that is ready to be computed. `types` are those of the events' columns.

    `stored` has the feature table's rows of the span, and `fresh` is whether there are none. `compiled` is the computation of a span
    that is divided by keys, else None. Its `shared` are session tables with the rows of all keys, by the names that it reads; each
    chunk copies the rows of its keys. `events` are those of a span that is divided by grid points.
    """

    chunks: tuple[Chunk, ...]
    types: Mapping[str, str]
    stored: Handle
    fresh: bool
    compiled: CompiledView | None = None
    events: Handle | None = None
    shared: Mapping[str, Handle] = field(default_factory=dict)


@dataclass(frozen=True)
class ChunkRows:
    """A query of a chunk's computed rows, in the table's types, and a relation with the feature table's rows of the chunk."""

    computed: Query
    stored: Handle


@dataclass(frozen=True)
class SourceCounts:
    """The number of a source's rows per day since 1970, and of the rows that are left out: with a NULL key, and in the future.

    `newest` is the time of the newest event up to the time of the run, in microseconds; None if there is none. `relation` has the raw
    rows that were counted, until the next ones are added; None if workers have counted them.
    """

    days: tuple[tuple[int, int], ...]
    null_keys: int
    future: int
    newest: int | None
    relation: Handle | None = None


Count: TypeAlias = Callable[[reading.TimeBounds | None], SourceCounts]
"""Counts the raw rows within bounds, and maybe others; None: all rows."""


def count_source(span: Span, newest: int | None, count_rows: Count) -> SourceCounts:
    """Count the source's rows. In a run that continues from a watermark, only those since the span's first feature_timestamp.

    `newest` is the newest event that an earlier run saw. Raises: RequestError when no row has an event time.
    """
    if span.events_lower <= times.FIRST:
        return count_rows(None)
    counts = count_rows(reading.TimeBounds(span.lower, times.LAST))
    # Earlier rows may be included, but not necessarily all of them.
    if counts.newest is not None and counts.newest >= span.lower:
        return counts
    # The newest event is earlier. Unless an earlier run has noted it, all events must be read to find it.
    noted = newest is not None and newest < span.lower
    return replace(counts, newest=newest if noted else count_rows(None).newest)


def count_rows(task: Task, bounds: reading.TimeBounds | None) -> SourceCounts:
    """Count the raw rows that a session reads. Raises: as `count_source`."""
    raw = task.source.add(task.session, task.events.reads, bounds).relation
    rows = task.session.batches(task.events.daily_counts(raw, task.run)).read_all().to_pylist()
    return replace(counts_of(task.view, rows), relation=raw)


def counts_of(view: FeatureView, rows: Sequence[Mapping[str, Any]]) -> SourceCounts:
    """The counts in rows of `Events.daily_counts`, of all rows or of parts of them. Raises: as `count_source`."""
    days: dict[int, int] = {}
    for row in rows:
        if row["day"] is not None:
            days[int(row["day"])] = days.get(int(row["day"]), 0) + int(row["rows"])
    if rows and not days:
        source = view.source
        raise RequestError(f"no row of source {source.name} has a value in its timestamp column '{source.timestamp}'; nothing was written")
    newest = max((int(row["newest"]) for row in rows if row["newest"] is not None), default=None)
    null_keys, future = (sum(int(row[name]) for row in rows) for name in ("null_keys", "future"))
    return SourceCounts(tuple(sorted(days.items())), null_keys, future, newest)


def open_span(task: Task, span: Span, counts: SourceCounts) -> OpenSpan:
    """Read the table's rows of a span, divide the span into chunks, and compute what the chunks share.

    Raises: TypeMismatch when the source's types no longer fit the table's.
    """
    assert counts.relation is not None, "whoever computes a span has counted its rows in the same session"
    stored = _store_rows_of_span(task, span)
    fresh = not count(task.session, stored)
    types = task.session.schema(task.events.within(counts.relation, span.bounds))
    days = [(day, rows) for day, rows in counts.days if span.lower // DAY <= day <= span.upper // DAY]
    if task.view.every is None:
        months = tuple(chunks.split_by_month(span, days, task.max_rows, fresh))
        return OpenSpan(months, types, stored, fresh)
    alone = task.view.limit is None and fresh and span.affected is None and not span.carry_in and not span.history
    points = chunks.split_by_point(span, grid_step(task.view)) if alone else []
    if points:
        events = _create_events(task, span)
        return OpenSpan(tuple(points), task.session.schema(events), stored, fresh, events=events)
    return _open_tiled_span(task, span, types, stored, fresh, len(days))


def _open_tiled_span(task: Task, span: Span, types: dict[str, str], stored: Handle, fresh: bool, days: int) -> OpenSpan:
    compiled, made = create_tiles(task, span, types)
    # Aggregates that need the events in order read the events themselves.
    events = sum(count(task.session, table) for table in made if table.name != NAMES.tiles)
    tiles = sum(count(task.session, table) for table in made if table.name == NAMES.tiles)
    parts = chunks.split_by_key(span, events + tiles * (1 + len(time_windows(task.view))), days, task.max_rows)
    shared: dict[str, Handle] = {}
    if len(parts) > 1:
        shared = {table.name: task.session.rename_table(table, f"__fs_shared{table.name}") for table in made}
    return OpenSpan(tuple(parts), types, stored, fresh, compiled, shared=shared)


def chunk_of(task: Task, open_span: OpenSpan, chunk: Chunk, unique: bool = False) -> ChunkRows:
    """Create the session tables that a chunk's rows are computed from, and the query of the rows.

    `unique`: no two events of a row view share keys and time, so the query need not drop duplicates.
    """
    session = task.session
    rows = chunk_rows.rows_between(open_span.stored, chunk.span.lower, chunk.span.upper)
    stored = session.create_view("__fs_stored", _rows_of_bucket(task, chunk, rows))
    if chunk.point:
        query = all_rows(_create_point(task, open_span, chunk.span.lower))
    elif open_span.compiled is None:
        event_rows = task.events.within(_add_source(task, chunk.span).relation, chunk.span.bounds)
        query = row_view_rows(task.view, task.events, open_span.types, event_rows, unique)
    else:
        *steps, (_, query) = open_span.compiled.each
        for name, table in open_span.shared.items():
            session.create_table(name, _rows_of_bucket(task, chunk, all_rows(table)))
        for name, step in steps:
            session.create_table(name, step)
    if chunk.span.affected is not None:
        query = chunk.span.affected.feature_rows(task.keys, query)
    _check_types(task, query)
    return ChunkRows(cast_rows(task.columns, query), stored)


def events_are_unique(task: Task, chunk: Chunk) -> bool:
    """Whether no two events of a row view's chunk share keys and time."""
    raw = _add_source(task, chunk.span).relation
    return not count(task.session, chunk_rows.repeated_event(task.events.within(raw, chunk.span.bounds), task.keys))


def _create_events(task: Task, span: Span) -> Handle:
    """Create the events, which each grid point reads several times: as a table, or as a view if the files are too large to copy."""
    raw = _add_source(task, span)
    rows, event_rows = raw.cheap_rows, task.events.within(raw.relation, span.bounds)
    large = rows is not None and rows * 16 * (len(task.keys) + 2 + len(task.events.inputs)) > task.session.memory // 4
    create = task.session.create_view if large else task.session.create_table
    if task.view.source.created is not None:
        return create(EVENTS, event_rows)
    known = create("__fs_events_without_created", chunk_rows.without_created(event_rows))
    return task.session.create_view(EVENTS, chunk_rows.with_unknown_created(known))


def _add_source(task: Task, span: Span) -> reading.SourceRows:
    """Add the raw rows of the span's events, only of the affected keys if there are any; they may be readable once only."""
    bounds = reading.TimeBounds(span.read_lower, span.events_upper)
    if span.affected is None:
        return task.source.add(task.session, task.events.reads, bounds)
    raw = task.source.add(task.session, task.events.reads, bounds, "__fs_source_of_all_keys")
    affected = task.session.create_view("__fs_source_of_affected_keys", span.affected.source_rows(task.events, raw.relation))
    return replace(raw, relation=affected)


def _store_rows_of_span(task: Task, span: Span) -> Handle:
    """Copy the feature table's rows of the span to a table of the session."""
    within = TimeRange("feature_timestamp", times.bound(span.lower), times.bound(span.upper))
    relation = task.stored.read(time=within)
    table, deletions = task.session.add("__fs_table", relation), DELETED in scans.names_of(relation)
    rows = chunk_rows.stored_rows(table, list(task.columns), span.lower, span.upper, deletions=deletions)
    if span.affected is not None:
        rows = span.affected.feature_rows(task.keys, rows)
    return task.session.create_table("__fs_stored_of_span", rows)


def create_tiles(task: Task, span: Span, types: dict[str, str]) -> tuple[CompiledView, list[Handle]]:
    """Create the tiles of a span, and compile the view with the shortcuts that they allow."""
    read = replace(span, affected=_find_active_keys(task, span)) if _reads_history_of_few(span) else span
    for shortcuts in WAYS:
        relations = replace(NAMES, source=_add_source(task, read).relation)
        try:
            made, facts = _try_tiles(task, span, types, shortcuts, relations)
        except RequestError:
            # The values may be too large for this way of summing. The last way raises any other error again.
            if shortcuts.any_value:
                raise
            continue
        if facts["fits"]:
            break
    filled = frozenset(name for name, value in facts.items() if value and name != "fits")
    return compile_view(task.view, task.events, types, replace(shortcuts, filled=filled), span.bounds, relations), made


def _reads_history_of_few(span: Span) -> bool:
    """Whether values depend on events before those that can change them."""
    return span.history and span.affected is None and span.events_lower > times.FIRST


def _find_active_keys(task: Task, span: Span) -> AffectedKeys:
    """The keys whose values can change in a span, because an event enters or leaves a window: the history of others is not needed."""
    bounds = reading.TimeBounds(span.events_lower, span.events_upper)
    raw = task.source.add(task.session, task.events.reads, bounds, "__fs_recent_source").relation
    recent = task.events.rows(raw, span.events_lower, span.events_upper)
    return AffectedKeys(task.session.create_table("__fs_active_keys", changed_keys.changed_keys(task.events.keys, recent)), span.lower)


def _try_tiles(
    task: Task, span: Span, types: dict[str, str], shortcuts: Shortcuts, relations: Relations
) -> tuple[list[Handle], dict[str, bool]]:
    """Create the tiles. Returns the tables and facts about them: `fits` is whether these shortcuts give exact results."""
    compiled = compile_view(task.view, task.events, types, shortcuts, span.bounds, relations)
    made = [task.session.create_table(name, query) for name, query in compiled.once]
    return made, {"fits": True} if compiled.facts is None else single_row(task.session, compiled.facts)


def _create_point(task: Task, open_span: OpenSpan, point: int) -> Handle:
    """Compute the rows of a grid point from the events, in a table of the session."""
    assert open_span.events is not None, "a span that is divided by grid points has its events"
    for shortcuts in WAYS:
        query = rows_at_point(task.view, task.events, open_span.types, shortcuts, point, open_span.events)
        try:
            return task.session.create_table("__fs_at_point", query)
        except RequestError:
            if shortcuts.any_value:
                raise
    raise AssertionError("the last way of summing fits all values, or raises")


def _rows_of_bucket(task: Task, chunk: Chunk, rows: Query) -> Query:
    """The rows whose keys are in the chunk's bucket."""
    return rows if chunk.buckets == 1 else chunk_rows.rows_of_bucket(rows, task.key_types, chunk.bucket, chunk.buckets)


def _check_types(task: Task, rows: Query) -> None:
    for column, sql_type in task.session.schema(rows).items():
        try:
            stored_type = storage_type(sql_type)
        except SqlProblem as error:
            raise TypeMismatch(f"column '{column}' {error}") from error
        if changed := type_changes(task.columns, {column: stored_type}):
            raise source_columns.type_mismatch(task.applied, changed)
