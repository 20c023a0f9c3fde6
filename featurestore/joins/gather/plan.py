"""The join plan: match keys and times, in memory or bucket by bucket, then take features by position, column by column."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.join_rows import in_row_order, typed_derived_items
from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Session
from featurestore.joins.derived_rows import derived_rows
from featurestore.joins.gather.as_of import NEVER, to_micros
from featurestore.joins.gather.seen_rows import SeenRows, see_rows
from featurestore.joins.gather.view_log import BATCH, Orders, ViewLog, open_log
from featurestore.joins.gather.workspace import Workspace
from featurestore.joins.view_join import Facts, ViewFacts, ViewJoin
from featurestore.records.defaults import default_values
from featurestore.spines.spine import SpineRows
from featurestore.values.arrays import single_array
from featurestore.values.int64 import Numbers, row_numbers
from featurestore.values.value_types import TYPES

OTHER_TYPE_BYTES = 32
"""The assumed size of a value of a type without a fixed width, in bytes; UUIDs are joined as text."""
MATCH_BYTES = 64
"""Bytes per row and view during the match."""


class GatherJoin:
    """Joins batches of a spine with logs that are kept sorted, or in buckets; see `join`."""

    def __init__(self, session: Session, plan: ServicePlan, logs: Sequence[ViewLog], room: int) -> None:
        self._session, self._plan, self._logs = session, plan, logs
        self.facts: Facts = {}
        self.rows_at_once = rows_in_room(plan, room)

    def features(self, spine: SpineRows) -> pa.RecordBatchReader:
        """The features of every view and the derived features, one row per spine row."""
        columns: list[pa.ChunkedArray] = []
        orders: Orders = {}
        # Match one view while another is sorted or taken from: the match is single-threaded, the rest is limited by memory bandwidth.
        with ThreadPoolExecutor(2) as thread:
            orders_made = [thread.submit(log.prepare) for log in self._logs]
            looked_up: list[Future[tuple[list[pa.ChunkedArray], ViewFacts]]] = []
            for log, made in zip(self._logs, orders_made, strict=True):
                made.result()
                at = to_micros(spine.times_of(log.view.use))
                seen = see_rows(self._session, log.view, log.match(spine, orders))
                looked_up.append(thread.submit(_look_up, log.view, seen, at))
        for log, matches in zip(self._logs, looked_up, strict=True):
            features, facts = matches.result()
            columns += features
            label = log.view.use.label
            self.facts[label] = facts.beside(self.facts.get(label)).refuse_leak(log.view)
        return beside_derived(self._session, self._plan, columns, spine)


def rows_in_room(plan: ServicePlan, room: int) -> int:
    """How many spine rows with their features fit in half of the room: a batch is still being written while the next one is gathered."""
    sql_types = [sql_type for use in plan.uses for sql_type in use.feature_types]
    width = sum(_width(sql_type) for sql_type in sql_types) + OTHER_TYPE_BYTES * len(plan.derived) + MATCH_BYTES * len(plan.uses)
    return max(BATCH, room // 2 // width)


def beside_derived(session: Session, plan: ServicePlan, columns: Sequence[pa.ChunkedArray], spine: SpineRows) -> pa.RecordBatchReader:
    """The looked-up features of a spine's rows, and the derived ones computed from them."""
    fields = [pa.field(name, column.type) for name, column in zip(plan.looked_up_names, columns, strict=True)]
    if not plan.derived:
        return pa.RecordBatchReader.from_batches(pa.schema(fields), _batches(pa.schema(fields), columns, spine.rows))
    derived = _compute_derived(session, plan, [*columns, *(spine.request[name] for name, _ in plan.request)])
    schema = pa.schema([*fields, *derived.schema])
    return pa.RecordBatchReader.from_batches(schema, _beside(schema, columns, derived))


def _compute_derived(session: Session, plan: ServicePlan, columns: Sequence[pa.ChunkedArray]) -> pa.RecordBatchReader:
    """The derived features over these looked-up features and request fields."""
    types = [sql_type for use in plan.uses for sql_type in use.feature_types] + [sql_type for _, sql_type in plan.request]
    names = [*plan.looked_up_names, *(name for name, _ in plan.request)]
    inner = {f"__fs_g{index}": column for index, column in enumerate(columns)}
    rows = len(columns[0]) if columns else 0
    gathered = session.add("gathered", pa.table({ROW: row_numbers(rows), **inner}))
    derived = typed_derived_items(plan, dict(zip(names, zip(inner, types, strict=True), strict=True)))
    return derived_rows(session, plan, in_row_order(gathered, derived), derived, gathered, BATCH)


def plan_gather(session: Session, plan: ServicePlan, views: Sequence[ViewJoin], room: int) -> GatherJoin:
    """The gather plan in `room` bytes: logs that leave half of them are kept in memory, and others are matched in a quarter."""
    workspace, left = Workspace(session, room // 4), room
    logs: list[ViewLog] = []
    for view in views:
        logs.append(open_log(workspace, view, left - room // 2))
        left -= logs[-1].bytes
    return GatherJoin(session, plan, logs, left)


def _look_up(view: ViewJoin, seen: SeenRows, at: Numbers) -> tuple[list[pa.ChunkedArray], ViewFacts]:
    """The features of the spine rows at the times `at`, and the facts of the view."""
    if view.use.ttl is not None:
        there = seen.match.times != NEVER
        seen = seen.without(there & (at - np.where(there, seen.match.times, at) > view.use.ttl))
    created, *features = seen.take(["created_timestamp", *view.use.columns])
    if defaults := default_values(view.use):
        names = [name for _, name in view.use.features]
        features = [
            pc.fill_null(column, pa.scalar(defaults[name], column.type)) if name in defaults else column
            for name, column in zip(names, features, strict=True)
        ]
    return features, _facts(view, at, seen.match.times, to_micros(created))


def _facts(view: ViewJoin, at: Numbers, joined: Numbers, created: Numbers) -> ViewFacts:
    matched = joined != NEVER
    through = view.log.through
    past = len(at) if through is None else int(((at > through) & (at != NEVER)).sum())
    return ViewFacts(int((~matched).sum()), past, *(_max_distance(times, at) for times in (joined, np.where(matched, created, NEVER))))


def _max_distance(times: Numbers, at: Numbers) -> int | None:
    there = times != NEVER
    return int((times[there] - at[there]).max()) if there.any() else None


def _batches(schema: pa.Schema, columns: Sequence[pa.ChunkedArray], rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, max(rows, 1), BATCH):
        yield pa.RecordBatch.from_arrays([single_array(column.slice(start, BATCH)) for column in columns], schema=schema)


def _beside(schema: pa.Schema, columns: Sequence[pa.ChunkedArray], derived: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in derived:
        slices = [single_array(column.slice(done, batch.num_rows)) for column in columns]
        done += batch.num_rows
        yield pa.RecordBatch.from_arrays([*slices, *batch.columns], schema=schema)


def _width(sql_type: str) -> int:
    width = TYPES[sql_type].width if sql_type in TYPES and sql_type != "UUID" else None
    return OTHER_TYPE_BYTES if width is None else width
