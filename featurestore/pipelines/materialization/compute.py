"""Computing the rows of a span, chunk by chunk: what its chunks share is made once, each gives the SELECT of its rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from featurestore.compiler.events import CREATED, DAY, EVENTS, SOURCE, TIME, Events
from featurestore.compiler.expressions import SqlProblem, quoted
from featurestore.compiler.features import feature_names
from featurestore.compiler.folds import WAYS, Shortcuts
from featurestore.compiler.grid import grid_step
from featurestore.compiler.log_diff import DELETED, STORED
from featurestore.compiler.storage import cast_sql, storage_type
from featurestore.compiler.views import CompiledView, compile_view, row_view_sql
from featurestore.compiler.windows import TILES
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import RequestError, TypeMismatch
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.lakehouse.tables import Table
from featurestore.pipelines.materialization import affected_keys, chunks, source_columns
from featurestore.pipelines.materialization.chunks import Chunk
from featurestore.pipelines.materialization.interval import Span
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.pinned_source import PinnedSource
from featurestore.sources.type_changes import type_changes
from featurestore.values import times


@dataclass(frozen=True)
class Task:
    """What one run works with; `table` is the feature table as it was at the begin, `run` the run's time in microseconds."""

    runtime: Runtime
    session: Session
    applied: Applied
    view: FeatureView
    events: Events
    table: Table
    source: PinnedSource
    run: int

    @property
    def keys(self) -> list[str]:
        """The names of the key columns."""
        return list(self.view.entity.keys)

    @property
    def features(self) -> dict[str, str]:
        """The features and their DuckDB types."""
        return {name: self.columns[name] for name in feature_names(self.view)}

    @property
    def columns(self) -> dict[str, str]:
        """The feature table's columns and DuckDB types."""
        return dict(self.applied.columns)


@dataclass(frozen=True)
class Opened:
    """A span whose chunks can be computed. `types` are those of the events' columns.

    `held` is the relation of the rows that the table holds of it, `fresh` whether there are none. `shared` are the relations that
    have of all keys what each chunk takes its share of, by the names that the shares have.
    """

    compiled: CompiledView
    chunks: tuple[Chunk, ...]
    types: Mapping[str, str]
    held: str
    fresh: bool
    shared: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Counted:
    """A source's rows: how many there are on each day since 1970, and how many are left out for what they lack or when they are.

    `newest` is the time of the newest event up to the run's, in microseconds; None where there is none.
    """

    days: tuple[tuple[int, int], ...]
    null_keys: int
    future: int
    newest: int | None


def count_source(task: Task, span: Span, newest: int | None) -> Counted:
    """Count the source's rows; of a run that goes on from an earlier one, those from the span's first feature_timestamp on.

    `newest` is the newest event that an earlier run saw. Raises: RequestError when no row has an event time.
    """
    if span.events_lower <= times.FIRST:
        return _count(task, None)
    found = _count(task, reading.TimeBounds(span.lower, times.LAST))
    # Earlier rows may have come, some but not all of them.
    if found.newest is not None and found.newest >= span.lower:
        return found
    # The newest event is one of before; if the one that was seen may have gone, only all events can tell.
    kept = newest is not None and newest < span.lower
    return replace(found, newest=newest if kept else _count(task, None).newest)


def _count(task: Task, onward: reading.TimeBounds | None) -> Counted:
    reading.add_source(task.runtime, task.session, task.source, task.events.reads, onward)
    task.session.set({"now": task.run})
    rows = task.session.batches(task.events.counts).read_all().to_pylist()
    days = tuple((int(row["day"]), int(row["rows"])) for row in rows if row["day"] is not None)
    if rows and not days:
        source = task.view.source
        raise RequestError(f"no row of source {source.name} has a value in its timestamp column '{source.timestamp}'; nothing was written")
    newest = max((int(row["newest"]) for row in rows if row["newest"] is not None), default=None)
    return Counted(days, sum(int(row["null_keys"]) for row in rows), sum(int(row["future"]) for row in rows), newest)


def open_span(task: Task, span: Span, counted: Counted) -> Opened:
    """Read what the table holds of a span, divide it into chunks, and make what these share.

    Raises: TypeMismatch when the source's types no longer fit the table's.
    """
    task.session.set({**span.variables(), "run": task.run})
    held = _hold(task, span)
    fresh = not count(task.session, held)
    types = task.session.schema(task.events.sql)
    days = [(day, rows) for day, rows in counted.days if span.lower // DAY <= day <= span.upper // DAY]
    if task.view.every is None:
        at_once = chunks.rows_at_once(task.runtime.settings, len(task.columns))
        return Opened(compile_view(task.view, task.events, types), tuple(chunks.months(span, days, at_once, fresh)), types, held, fresh)
    points = chunks.points(span, grid_step(task.view)) if fresh and not span.scoped and not span.carry_in else []
    if points:
        _keep_events(task, span)
        return Opened(compile_view(task.view, task.events, types), tuple(points), types, held, fresh)
    compiled = _tiled(task, span, types)
    # Aggregates that do not fold go over the events themselves.
    events_kept = sum(count(task.session, name) for name, _ in compiled.once if name != TILES)
    at_once = chunks.rows_at_once(task.runtime.settings, len(task.columns))
    moves = 1 + len({window for feature in task.view.declared.values() for window in getattr(feature, "over", ())})
    parts = chunks.shares(span, events_kept + count(task.session, TILES) * moves, len(days), at_once)
    shared = {name: f"__fs_shared{name}" for name, _ in compiled.once} if len(parts) > 1 else {}
    for name, of_all in shared.items():
        task.session.run(f"DROP TABLE IF EXISTS {of_all}")
        task.session.run(f"ALTER TABLE {name} RENAME TO {of_all}")
    return Opened(compiled, tuple(parts), types, held, fresh, shared)


def rows_of(task: Task, opened: Opened, chunk: Chunk, unique: bool = False) -> str:
    """Make what the rows of a chunk need, and HELD its part of the rows held; returns their SELECT in the table's types.

    `unique`: no two rows of a row view share keys and time, so there is nothing to choose among.
    """
    session = task.session
    session.set({**chunk.span.variables(), "point": chunk.span.lower})
    session.run(f"CREATE OR REPLACE TEMP VIEW {STORED} AS SELECT * FROM {opened.held} WHERE {_in_chunk(task, chunk)}")
    *steps, (_, select) = opened.compiled.each
    if chunk.point:
        select = f"SELECT * FROM {_at_point(task)}"
    elif task.view.every is None:
        select = row_view_sql(task.view, task.events, opened.types, unique)
        _add_source(task, chunk.span)
    else:
        _take_share(task, opened, chunk)
        for name, statement in steps:
            session.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {statement}")
    if chunk.span.scoped:
        select = affected_keys.of_rows(task.view, f"({select})")
    _check_types(task, select)
    return cast_sql(task.columns, f"({select})")


def unique(task: Task, opened: Opened, chunk: Chunk) -> bool:
    """Whether no two events of a row view's chunk share keys and time."""
    task.session.set(chunk.span.variables())
    _add_source(task, chunk.span)
    one = f"SELECT 1 FROM ({task.events.sql}) GROUP BY {', '.join(map(quoted, task.keys))}, {TIME} HAVING count(*) > 1"
    return not count(task.session, f"({one} LIMIT 1)")


def count(session: Session, relation: str) -> int:
    """How many rows a relation has."""
    return int(session.batches(f"SELECT count(*) FROM {relation}").read_all().columns[0][0].as_py())


def _keep_events(task: Task, span: Span) -> None:
    """Make EVENTS, which each grid point reads several times: of a table, or of files that are too large to be made one."""
    rows = _add_source(task, span)
    large = rows is not None and rows * 16 * (len(task.keys) + 2 + len(task.events.inputs)) > task.session.memory // 4
    kept = given = "*"
    if task.view.source.created is None:
        # A column of nothing but NULL takes as long to keep as any other.
        kept, given = f"* EXCLUDE ({CREATED})", f"*, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS {CREATED}"
    task.session.run(f"CREATE TEMP {'VIEW' if large else 'TABLE'} __fs_kept AS SELECT {kept} FROM (\n{task.events.sql}\n)")
    task.session.run(f"DROP TABLE IF EXISTS {EVENTS}")
    task.session.run(f"CREATE TEMP VIEW {EVENTS} AS SELECT {given} FROM __fs_kept")


def _add_source(task: Task, span: Span) -> int | None:
    """Make SOURCE readable, once: the rows of the span's events, and in a scoped span of the keys in SCOPE; returns as `sources.add`."""
    bounds = reading.TimeBounds(span.events_lower, span.events_upper)
    name = "__fs_every_row" if span.scoped else SOURCE
    rows = reading.add_source(task.runtime, task.session, task.source, task.events.reads, bounds, name)
    if span.scoped:
        task.session.run(f"CREATE OR REPLACE TEMP VIEW {SOURCE} AS {affected_keys.of_source(task.events, name)}")
    return rows


def _hold(task: Task, span: Span) -> str:
    """Make the rows that the table holds of the span; returns the table they are in."""
    within = TimeRange("feature_timestamp", times.bound(span.lower), times.bound(span.upper))
    task.session.add("__fs_table", scans.scan_snapshot(task.table, tables.current_snapshot_id(task.table), time=within))
    deleted = f"coalesce({DELETED}, false)" if DELETED in task.session.schema("SELECT * FROM __fs_table") else "false"
    columns = ", ".join(map(quoted, task.columns))
    held = f"(SELECT {columns}, {deleted} AS {DELETED} FROM __fs_table WHERE {_within(span)})"
    rows = affected_keys.of_rows(task.view, held) if span.scoped else f"SELECT * FROM {held}"
    task.session.run(f"CREATE OR REPLACE TEMP TABLE __fs_held_span AS {rows}")
    return "__fs_held_span"


def _tiled(task: Task, span: Span, types: dict[str, str]) -> CompiledView:
    """Make the tiles of a span, and compile the rest for what they say."""
    for shortcuts in WAYS:
        try:
            row = _try_tiles(task, span, types, shortcuts)
        except RequestError:
            # Values that do not fit this way of summing; what else went wrong goes wrong again.
            if shortcuts.any_value:
                raise
            continue
        if row["fits"]:
            break
    return compile_view(task.view, task.events, types, replace(shortcuts, filled=_filled(row)))


def _try_tiles(task: Task, span: Span, types: dict[str, str], shortcuts: Shortcuts) -> dict[str, bool]:
    """Make the tiles; returns what they say, of which `fits` is whether these shortcuts may be taken."""
    compiled = compile_view(task.view, task.events, types, shortcuts)
    _add_source(task, span)
    for name, select in compiled.once:
        task.session.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")
    if compiled.facts is None:
        return {"fits": True}
    found: dict[str, bool] = task.session.batches(compiled.facts).read_all().to_pylist()[0]
    return found


def _filled(row: dict[str, bool]) -> frozenset[str]:
    return frozenset(name for name, value in row.items() if value and name != "fits")


def _at_point(task: Task) -> str:
    """Compute the rows of a grid point from the events; returns the table they are in."""
    types = task.session.schema(f"SELECT * FROM {EVENTS}")
    for shortcuts in WAYS:
        compiled = compile_view(task.view, task.events, types, shortcuts)
        try:
            task.session.run(f"CREATE OR REPLACE TEMP TABLE __fs_at_point AS {compiled.single_point}")
            break
        except RequestError:
            if shortcuts.any_value:
                raise
    return "__fs_at_point"


def _take_share(task: Task, opened: Opened, chunk: Chunk) -> None:
    """Give the chunk its share of what its span made."""
    for name, of_all in opened.shared.items():
        task.session.run(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM {of_all} WHERE {_in_share(task, chunk)}")


def _in_chunk(task: Task, chunk: Chunk) -> str:
    within = _within(chunk.span)
    return f"{within} AND {_in_share(task, chunk)}" if chunk.shares > 1 else within


def _within(span: Span) -> str:
    return f"feature_timestamp BETWEEN make_timestamptz({span.lower}) AND make_timestamptz({span.upper})"


def _in_share(task: Task, chunk: Chunk) -> str:
    keys = ", ".join(f"CAST({quoted(key)} AS {task.columns[key]})" for key in task.keys)
    return f"hash({keys}) % {chunk.shares} = {chunk.share}"


def _check_types(task: Task, rows: str) -> None:
    for column, kind in task.session.schema(rows).items():
        try:
            found = storage_type(kind)
        except SqlProblem as error:
            raise TypeMismatch(f"column '{column}' {error}") from error
        if changed := type_changes(task.columns, {column: found}):
            raise source_columns.refused(task.applied, changed)
