"""The point-in-time join of a whole service: view by view against logs of feature rows, then side by side with the spine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Session
from featurestore.errors import Conflict
from featurestore.joins.engine_plan import Spilling, final_select
from featurestore.joins.gather.plan import Gathering, gathering
from featurestore.joins.view_join import Facts, Log, view_joins
from featurestore.spines.spine import Spine, SpineRows
from featurestore.values.arguments import known_at

SHARE = 2
"""What is held is half of the session's memory at most: it comes on top of what the session itself takes."""


@dataclass(frozen=True)
class Joined:
    """The result: spine columns then features, in spine order; a stream to be read once, while the join is open.

    `facts` are those of the rows read so far, by the label of the view: all of them when the last batch was read. `sql` says what was
    joined, in whichever way it was done.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    facts: Facts
    sql: str


def join(session: Session, plan: ServicePlan, spine: Spine, logs: Mapping[str, Log], known: str, room: int | None = None) -> Joined:
    """Join a spine with the logs of the plan's feature tables. Every spine row comes out once, in order, whatever its keys.

    The rows are gathered by position, so many at once that it takes `room` bytes at most (None: a share of the session's memory);
    where the logs' keys and times alone take more, it is joined in the engine, which spills. Both give the same.
    Raises: RequestError for an unknown `known`; Conflict, also while it is read, if the result would hold a row from after its
    spine row.
    """
    known_at(known)
    views = view_joins(plan, spine, logs, known)
    way = gathering(session, plan, views, session.memory // SHARE if room is None else room) or Spilling(session, plan, views)
    pieces = spine.pieces(way.rows_at_once)
    first = next(pieces)
    features = way.features(first)
    schema = pa.schema([*spine.schema, *features.schema])
    sql = [*(f"CREATE TEMP TABLE {view.table} AS\n{view.sql};" for view in views), f"{final_select(plan)};"]
    return Joined(schema, _batches(way, first, features, pieces, schema), way.facts, "\n\n".join(sql))


def _batches(
    way: Gathering | Spilling, first: SpineRows, features: pa.RecordBatchReader, others: Iterator[SpineRows], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    yield from _beside(first.table, features, schema)
    for rows in others:
        yield from _beside(rows.table, way.features(rows), schema)


def _beside(spine: pa.Table, features: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The spine's rows with their features, batch by batch."""
    done = 0
    for batch in features:
        rows = spine.slice(done, batch.num_rows).combine_chunks()
        done += batch.num_rows
        columns = [column.chunk(0) if column.num_chunks else pa.nulls(0, column.type) for column in rows.columns]
        yield pa.RecordBatch.from_arrays([*columns, *batch.columns], schema=schema)
    if done != spine.num_rows:
        raise Conflict(f"the join gave {done} rows for a spine of {spine.num_rows}; nothing was written")
