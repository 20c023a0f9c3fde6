"""Compute a view's feature rows, or a service's training rows, in a test."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from featurestore.compiler.join_rows import keys_at
from featurestore.compiler.point_in_time import CREATED_TIME, FEATURE_TIME, ROW
from featurestore.compiler.query import columns_of
from featurestore.compiler.service_plan import ViewUse
from featurestore.dsl.service import FeatureService
from featurestore.dsl.view import FeatureView, Selection
from featurestore.engine.memory import memory_session
from featurestore.engine.session import ValueSession
from featurestore.errors import RequestError
from featurestore.joins.join import join
from featurestore.joins.view_join import view_table
from featurestore.spines.spine import SpineRows, fit_rows, spine_in_memory
from featurestore.testing.materialized_log import MaterializedService, MemoryLog, materialize_rows
from featurestore.testing.source_rows import Schema, add_rows
from featurestore.values import times
from featurestore.values.arguments import Known

Row = dict[str, Any]
Time = datetime | str


def feature_rows(
    view: FeatureView | Selection,
    rows: Mapping[str, Any],
    *,
    at: Time | None = None,
    known: Known = "now",
    materialized_at: Time | None = None,
    schema: Schema | None = None,
) -> list[Row]:
    """The feature rows of a view, or of some of its features, over source rows given by the name of the source or table.

    With `at`, one row per key that has any feature row: the values of a join at that time, None if there is no row yet or it is beyond the
    ttl. Without `at`, all stored rows, ordered by keys and times. A row has the keys, feature_timestamp, created_timestamp if the source
    has `created`, and the features; times are UTC.

    `materialized_at` is the time of the materialization: later rows are left out, and it is the created time of rows without a `created`
    column; None: after all rows. `schema` gives types that cannot be inferred from literals.

    Raises: DefinitionError as a plan does; NotFound, RequestError and TypeMismatch for invalid rows.
    """
    selection = view if isinstance(view, Selection) else Selection(view)
    if not isinstance(selection.view, FeatureView):
        raise RequestError(f"feature_rows takes a view, not {selection.view!r}; for a service there is training_rows")
    if at is None and known != "now":
        raise RequestError(f"known={known!r} needs at=, the time at which rows are seen; without at=, all stored rows are returned")
    with memory_session() as session:
        tested = _materialize(session, FeatureService(selection.view.name, features=[selection]), rows, known, materialized_at, schema)
        ((use,), (log,)) = (tested.plan.uses, tested.logs.values())
        table = _stored_rows(use, log) if at is None else _rows_seen(session, tested, use, log, times.parse(at, "at"), known)
        return _rows(table if selection.view.source.created else table.drop_columns("created_timestamp"))


def training_rows(
    service: FeatureService | FeatureView | Selection,
    rows: Mapping[str, Any],
    spine: Any,
    *,
    timestamp: str,
    known: Known = "now",
    materialized_at: Time | None = None,
    schema: Schema | None = None,
) -> list[Row]:
    """The rows of a training set: the spine's rows in order, each with the features as of its time.

    `spine` is a list of dicts, a frame or an Arrow table with the keys, the request fields and `timestamp`; the other
    arguments are those of `feature_rows`, and `known` is that of `FeatureStore.training_set`. Raises: as `feature_rows`.
    """
    if isinstance(service, FeatureView | Selection):
        service = FeatureService(service.name if isinstance(service, FeatureView) else service.view.name, features=[service])
    if not isinstance(service, FeatureService):
        raise RequestError(f"training_rows takes a service, a view or some features of a view, not {service!r}")
    with memory_session() as session:
        tested = _materialize(session, service, rows, known, materialized_at, schema)
        if isinstance(spine, list) and not spine:
            return []
        spine_table = session.batches(add_rows(session, "__fs_given_spine", spine, "the spine", {}, {timestamp})).read_all()
        joined = join(session, tested.plan, spine_in_memory(fit_rows(spine_table, tested.plan, timestamp), tested.plan), tested.logs, known)
        return _rows(pa.Table.from_batches(joined.batches, joined.schema))


def utc(text: str) -> datetime:
    """Parse a time such as "2026-01-31" or "2026-01-31T12:00", in UTC unless it has an offset, to compare results with."""
    return times.moment(times.parse(text, "time"))


def _materialize(
    session: ValueSession, service: FeatureService, rows: Mapping[str, Any], known: Known, run: Time | None, schema: Schema | None
) -> MaterializedService:
    if not isinstance(rows, Mapping):
        raise RequestError(f"rows is {type(rows).__name__}; give a dict of the rows by source: {{'orders': [{{...}}, ...]}}")
    moment = times.LAST if run is None else times.parse(run, "materialized_at")
    tested = materialize_rows(session, service, rows, schema or {}, moment)
    without_created = [selection.view.source.name for selection in service.selections if selection.view.source.created is None]
    if known == "then" and without_created and run is None:
        raise RequestError(
            f"known='then' asks when rows became known, and source {without_created[0]} has no created column that"
            " tells; in the store that is the time of the materialization: pass materialized_at="
        )
    return tested


def _stored_rows(use: ViewUse, log: MemoryLog) -> pa.Table:
    """All rows, with the service's names of keys and features."""
    pairs = [*use.keys, ("feature_timestamp", "feature_timestamp"), ("created_timestamp", "created_timestamp"), *use.features]
    return pa.table({name: log.table.column(column) for column, name in pairs})


def _rows_seen(session: ValueSession, tested: MaterializedService, use: ViewUse, log: MemoryLog, at: int, known: Known) -> pa.Table:
    """The rows of a join of all keys at one time."""
    keys = session.batches(keys_at(session.add("__fs_log", log.table), use.keys, at)).read_all()
    spine = SpineRows(keys, "__fs_at", {name: keys.column(name) for _, name in use.keys}, {})
    # Without room the join runs in DuckDB, and leaves the times of the joined rows in a temporary table.
    joined = join(session, tested.plan, spine_in_memory(spine, tested.plan), tested.logs, known, room=0)
    joined_rows = pa.Table.from_batches(joined.batches, joined.schema)
    row_times = session.batches(columns_of(view_table(0), [FEATURE_TIME, CREATED_TIME], [ROW])).read_all()
    return pa.table(
        {
            **{name: joined_rows.column(name) for _, name in use.keys},
            "feature_timestamp": row_times.column(0),
            "created_timestamp": row_times.column(1),
            **{name: joined_rows.column(name) for _, name in use.features},
        }
    )


def _rows(table: pa.Table) -> list[Row]:
    columns = [_values(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python values, with Python's own UTC as the zone of times."""
    naive = _without_zone(column.type)
    return column.to_pylist() if naive == column.type else [_in_utc(value) for value in column.cast(naive).to_pylist()]


def _without_zone(arrow_type: pa.DataType) -> pa.DataType:
    if pa.types.is_list(arrow_type):
        return pa.list_(_without_zone(arrow_type.value_type))
    return pa.timestamp(arrow_type.unit) if pa.types.is_timestamp(arrow_type) and arrow_type.tz is not None else arrow_type


def _in_utc(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_utc(item) for item in value]
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
