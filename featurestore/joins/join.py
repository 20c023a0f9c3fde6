"""The point-in-time join of a service: each view is joined with its log of feature rows, and the results are put beside the spine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from featurestore.compiler.query import write_steps
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Session
from featurestore.errors import Conflict
from featurestore.joins.engine_plan import EngineJoin, final_query
from featurestore.joins.gather.plan import plan_gather
from featurestore.joins.view_join import LOG, SPINE, Facts, Log, ViewJoin, view_joins
from featurestore.spines.spine import Spine, SpineRows
from featurestore.values.arguments import check_known

MEMORY_DIVISOR = 2
"""The gather plan may use the session's memory divided by this, in addition to what the session itself uses."""


class Joiner(Protocol):
    """Joins a spine batch by batch. `facts` cover the batches so far."""

    facts: Facts

    @property
    def rows_at_once(self) -> int:
        """The number of spine rows in a batch."""

    def features(self, spine: SpineRows) -> pa.RecordBatchReader:
        """The features of each view and the derived features, one row for each spine row, in order."""


@dataclass(frozen=True)
class Joined:
    """The result: spine columns, then features, in spine order, as a stream to be read once while the join is open.

    `facts`, by the label of the view, cover the rows read so far, so they are complete after the last batch. `sql` describes the join,
    whichever plan was used.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    facts: Facts
    sql: str


def join(
    session: Session,
    plan: ServicePlan,
    spine: Spine,
    logs: Mapping[str, Log],
    known: str,
    room: int | None = None,
    on_workers: Callable[[Sequence[ViewJoin]], Joiner | None] | None = None,
) -> Joined:
    """Join a spine with the logs of the plan's feature tables. Every spine row is returned once, in order, whatever its keys.

    Rows are gathered by position, in batches that need at most `room` bytes (None: a fraction of the session's memory); the keys and
    times of a log that needs more are divided into buckets on disk. Without any room the join runs in DuckDB, with the same result.
    `on_workers` plans the join on workers, also with the same result, if it pays.
    Raises: RequestError for an unknown `known`; Conflict, also while reading, if a feature row is later than its spine row.
    """
    check_known(known)
    views = view_joins(plan, spine, logs, known)
    if room is None:
        room = session.memory // MEMORY_DIVISOR
    distributed = None if on_workers is None else on_workers(views)
    joiner = distributed or (plan_gather(session, plan, views, room) if room else EngineJoin(session, plan, views))
    pieces = spine.pieces(joiner.rows_at_once)
    first = next(pieces)
    features = joiner.features(first)
    schema = pa.schema([*spine.schema, *features.schema])
    steps = write_steps((view.table.name, view.query(SPINE, LOG)) for view in views)
    sql = "\n\n".join([*([steps] if steps else []), f"{final_query(plan)};"])
    return Joined(schema, _batches(joiner, first, features, pieces, schema), joiner.facts, sql)


def _batches(
    joiner: Joiner, first: SpineRows, features: pa.RecordBatchReader, others: Iterator[SpineRows], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    yield from _append_features(first.table, features, schema)
    for rows in others:
        yield from _append_features(rows.table, joiner.features(rows), schema)


def _append_features(spine: pa.Table, features: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The spine's rows and their features side by side, batch by batch."""
    done = 0
    for batch in features:
        rows = spine.slice(done, batch.num_rows).combine_chunks()
        done += batch.num_rows
        columns = [column.chunk(0) if column.num_chunks else pa.nulls(0, column.type) for column in rows.columns]
        yield pa.RecordBatch.from_arrays([*columns, *batch.columns], schema=schema)
    if done != spine.num_rows:
        raise Conflict(f"the join gave {done} rows for a spine of {spine.num_rows}; nothing was written")
