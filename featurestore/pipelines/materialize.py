"""Materializing a view: compute an interval, compare with what the table holds, append the difference, publish it."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from featurestore.compiler import diff
from featurestore.compiler.events import compile_events
from featurestore.compiler.expressions import SqlProblem, quoted
from featurestore.compiler.features import feature_names
from featurestore.compiler.storage import storage_type, stored
from featurestore.compiler.views import CompiledView, compile_view
from featurestore.compiler.grid import EXTRA_POINTS, GRID
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import CommitConflict, FeatureStoreError, RequestError, TypeMismatch
from featurestore.lakehouse import scans, tables, writes
from featurestore.lakehouse.tables import Table
from featurestore.pipelines import feature_table, sources, times
from featurestore.pipelines.feature_table import State
from featurestore.pipelines.inspect import prepare
from featurestore.pipelines.interval import Interval, choose
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.publish import publish
from featurestore.pipelines.registry import Applied

ATTEMPTS = 8
STAGES = ("read", "compute", "compare", "write", "publish")


@dataclass(frozen=True)
class Progress:
    """How far the materialization of one view is: stage `done` of `total`, and the rows the stage before it made."""

    view: str
    stage: str
    done: int
    total: int
    rows: int


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Materialization:
    """What one run did to one view.

    `start` and `end` bound the feature_timestamps that were computed (UTC, inclusive; None when there was nothing to
    compute). `corrections` of the appended rows replace held ones. `future_rows` and `null_keys` of the source were
    left out. `snapshot_id` is the table's newest snapshot, None while it has no rows; `published` counts online rows.
    """

    view: str
    table: str
    start: datetime | None
    end: datetime | None
    rows_computed: int
    rows_appended: int
    corrections: int
    future_rows: int
    null_keys: int
    snapshot_id: int | None
    published: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: times as RFC 3339, the snapshot id as text."""
        bounds = (("start", self.start), ("end", self.end))
        shown = {name: None if value is None else times.text(times.micros(value)) for name, value in bounds}
        return {**self.__dict__, **shown, "snapshot_id": None if self.snapshot_id is None else str(self.snapshot_id)}


def materialize_view(
    parts: Parts, applied: Applied, view: FeatureView, start: int | None, end: int | None, report: Report
) -> Materialization:
    """Bring one version of a view up to `end` (microseconds; the present when None or later) and publish it.

    A run that loses a race for the table starts over on what the winner left. Raises: RequestError for an interval
    that would leave a gap; TypeMismatch when the source's types no longer fit the table's.
    """
    began = time.monotonic()
    for attempt in range(ATTEMPTS):
        try:
            done = _run(parts, applied, view, start, end, report)
            break
        except CommitConflict:
            if attempt == ATTEMPTS - 1:
                raise
        except FeatureStoreError as error:
            error.message = f"view {view.name}: {error.message}"
            raise
    report(Progress(view.name, "publish", 4, len(STAGES), done.rows_appended))
    published = publish(parts, applied, view)
    report(Progress(view.name, "done", len(STAGES), len(STAGES), done.rows_appended))
    return replace(done, published=published, seconds=time.monotonic() - began)


def _run(parts: Parts, applied: Applied, view: FeatureView, start: int | None, end: int | None, report: Report) -> Materialization:
    run = times.now()
    table = tables.load(parts.catalog, parts.features_table(applied.table))
    held = feature_table.state(table.properties)
    pins = sources.pins(parts, view.source)
    with parts.engine.session() as session:
        report(Progress(view.name, "read", 0, len(STAGES), 0))
        interval = choose(parts, session, view, held, pins, start, run if end is None else min(end, run))
        if interval is None:
            return _nothing(applied, table)
        counts = _open_source(parts, session, view, pins, interval, run)
        report(Progress(view.name, "compute", 1, len(STAGES), counts["rows"]))
        computed = _compute(session, applied, view, interval, run)
        report(Progress(view.name, "compare", 2, len(STAGES), computed.rows))
        _compare(parts, session, applied, view, table, interval, pins, computed)
        appended, corrections = _two(session, f"SELECT count(*), count(*) FILTER (WHERE {diff.CORRECTION}) FROM {diff.APPENDED}")
        report(Progress(view.name, "write", 3, len(STAGES), appended))
        seen = pins if start is None or held.through is None else held.sources
        state = State(interval.since, max(interval.upper, held.through or interval.upper), seen, held.corrections + corrections)
        snapshot_id = _append(session, table, applied, state, interval, appended)
    return Materialization(
        applied.name,
        applied.table,
        times.moment(max(interval.lower, times.FIRST)),
        times.moment(interval.upper),
        computed.rows,
        appended,
        corrections,
        counts["future"],
        counts["null_keys"],
        snapshot_id,
        0,
        0.0,
    )


def _nothing(applied: Applied, table: Table) -> Materialization:
    return Materialization(applied.name, applied.table, None, None, 0, 0, 0, 0, 0, tables.current_snapshot_id(table), 0, 0.0)


def _open_source(parts: Parts, session: Session, view: FeatureView, pins: sources.Pins, interval: Interval, run: int) -> dict[str, int]:
    """Make SOURCE readable and count what will be left out of it."""
    sources.add(parts, session, view.source, None)
    events = compile_events(view, list(sources.columns(session)))
    onward = None if interval.events_lower <= times.FIRST else sources.TimeBounds(interval.events_lower, times.LAST)
    sources.add(parts, session, view.source, pins, events.reads, onward)
    session.set({"now": run})
    row = session.batches(events.counts).read_all().to_pylist()[0]
    if row["rows"] and row["no_time"] == row["rows"]:
        raise RequestError(
            f"no row of source {view.source.name} has a value in its timestamp column '{view.source.timestamp}'; nothing was written"
        )
    bounds = sources.TimeBounds(interval.events_lower, interval.events_upper)
    sources.add(parts, session, view.source, pins, events.reads, bounds)
    return {name: int(row[name] or 0) for name in ("rows", "future", "null_keys")}


@dataclass(frozen=True)
class _Computed:
    """How the rows of COMPUTED came to be, and how many they are."""

    compiled: CompiledView
    rows: int


def _compute(session: Session, applied: Applied, view: FeatureView, interval: Interval, run: int) -> _Computed:
    """Compute the interval's rows as COMPUTED, in the feature table's types."""
    events = compile_events(view, list(sources.columns(session)))
    session.set({**interval.variables(), "run": run})
    compiled = compile_view(view, events, session.schema(events.sql))
    prepare(session, view, events)
    return _Computed(compiled, _compute_rows(session, applied, compiled))


def _compute_rows(session: Session, applied: Applied, compiled: CompiledView) -> int:
    *steps, (_, rows) = compiled.steps
    for name, select in steps:
        session.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")
    _check_types(session, applied, rows)
    session.run(f"CREATE OR REPLACE TEMP TABLE {diff.COMPUTED} AS {stored(dict(applied.columns), f'({rows})')}")
    for name, _ in steps:
        session.run(f"DROP TABLE {name}")
    return _two(session, f"SELECT count(*), 0 FROM {diff.COMPUTED}")[0]


def _compare(
    parts: Parts,
    session: Session,
    applied: Applied,
    view: FeatureView,
    table: Table,
    interval: Interval,
    pins: sources.Pins,
    computed: _Computed,
) -> None:
    """Make APPENDED: what COMPUTED has that the table's rows of the interval lack, and what they have that it lacks."""
    keys, features = list(view.entity.keys), list(feature_names(view))
    versioned = view.every is None and view.source.created is not None
    within = scans.TimeRange("feature_timestamp", times.bound(interval.lower), times.bound(interval.upper))
    session.add("__fs_table", scans.scan(table, tables.current_snapshot_id(table), time=within))
    session.run(
        f"CREATE TEMP TABLE {diff.HELD} AS SELECT * FROM __fs_table"
        " WHERE feature_timestamp BETWEEN make_timestamptz(getvariable('lower')) AND make_timestamptz(getvariable('upper'))"
    )
    if not versioned and not _two(session, f"SELECT count(*), 0 FROM {diff.HELD}")[0]:
        session.run(f"CREATE TEMP VIEW {diff.APPENDED} AS {diff.first_rows(keys, features)}")
        return
    session.run(f"CREATE TEMP VIEW {diff.HELD_LATEST} AS {diff.latest(diff.HELD, keys)}")
    session.run(f"CREATE TEMP TABLE {diff.VANISHED} AS {diff.vanished(keys, features)}")
    if view.every is not None and _two(session, f"SELECT count(*), 0 FROM {diff.VANISHED}")[0]:
        _compute_vanished_points(parts, session, applied, view, pins, computed.compiled)
    session.run(f"CREATE TEMP VIEW {diff.COMPUTED_LATEST} AS {diff.latest(diff.COMPUTED, keys)}")
    session.run(f"CREATE TEMP TABLE {diff.APPENDED} AS {diff.appended(keys, features, versioned)}")


def _compute_vanished_points(
    parts: Parts, session: Session, applied: Applied, view: FeatureView, pins: sources.Pins, compiled: CompiledView
) -> None:
    """A held grid point that no event asks for any more still has a value while its key has earlier events."""
    sources.add(parts, session, view.source, None)
    reads = compile_events(view, list(sources.columns(session))).reads
    sources.add(parts, session, view.source, pins, reads)
    keys = ", ".join(map(quoted, view.entity.keys))
    session.set({"events_lower": times.FIRST})
    session.run(f"CREATE OR REPLACE TEMP TABLE {EXTRA_POINTS} AS SELECT {keys}, epoch_us(feature_timestamp) AS {GRID} FROM {diff.VANISHED}")
    _compute_rows(session, applied, compiled)


def _check_types(session: Session, applied: Applied, rows: str) -> None:
    for column, kind in session.schema(rows).items():
        try:
            found = storage_type(kind)
        except SqlProblem as error:
            raise TypeMismatch(f"column '{column}' {error}") from error
        if found != applied.columns[column]:
            raise TypeMismatch(
                f"column '{column}' is {applied.columns[column]} in {applied.table}, but the source now gives {found}; nothing was written."
                " Cast it in the definition, or change the definition to make a new version",
                column=column,
                expected=applied.columns[column],
                found=found,
            )


def _append(session: Session, table: Table, applied: Applied, state: State, interval: Interval, appended: int) -> int | None:
    """Commit the rows and the state; without rows only a state that moved on, and then no snapshot."""
    properties = state.to_properties()
    if not appended:
        if feature_table.state(table.properties) != state:
            tables.set_properties(table, properties)
        return tables.current_snapshot_id(table)
    columns = dict(applied.columns)
    order = ", ".join(
        [
            "date_trunc('month', feature_timestamp)",
            *(quoted(c) for c in columns if c in _key_names(applied)),
            "feature_timestamp",
            "created_timestamp",
        ]
    )
    summary = {
        **properties,
        "featurestore.run-id": uuid.uuid4().hex,
        "featurestore.interval": f"{times.text(max(interval.lower, times.FIRST))}/{times.text(interval.upper)}",
        "featurestore.view-version": str(applied.version),
    }
    batches = session.batches(f"{stored(columns, diff.APPENDED)} ORDER BY {order}")
    return writes.append(table, batches, summary=summary, properties=properties, month_of="feature_timestamp")


def _key_names(applied: Applied) -> Sequence[str]:
    return list(applied.document["entity"]["keys"])


def _two(session: Session, sql: str) -> tuple[int, int]:
    first, second = session.batches(sql).read_all().columns
    return int(first[0].as_py()), int(second[0].as_py())
