"""The point-in-time join of a whole service: view by view against logs of feature rows, then side by side with the spine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from featurestore.compiler.expressions import parse_row, quoted, render
from featurestore.compiler.point_in_time import KNOWN, ROW, T
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Session
from featurestore.errors import Conflict, RequestError
from featurestore.pipelines.gather import BATCH, SHARE, features_beside, gathered
from featurestore.pipelines.numbers import numbers
from featurestore.pipelines.spine import Spine
from featurestore.pipelines.view_join import LOG, SPINE, Log, ViewFacts, ViewJoin, facts_of, view_joins, view_table


@dataclass(frozen=True)
class Joined:
    """The result: spine columns then features, in spine order; a stream to be read once, while the join is open.

    `sql` says what was joined, in whichever way it was done.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    facts: Mapping[str, ViewFacts]
    sql: str


def join(session: Session, plan: ServicePlan, spine: Spine, logs: Mapping[str, Log], known: str, room: int | None = None) -> Joined:
    """Join a spine with the logs of the plan's feature tables. Every spine row comes out once, in order, whatever its keys.

    What fits in `room` bytes (None: a share of the session's memory) is gathered by position; what does not is joined in the
    engine, which spills. Both give the same.
    Raises: RequestError for an unknown `known`; Conflict if the result would hold a row from after its spine row.
    """
    if known not in KNOWN:
        raise RequestError(f"known={known!r} must be 'now' (the latest correction) or 'then' (what was known at the spine's time)")
    session.add(SPINE, _narrow(plan, spine))
    views = view_joins(plan, spine, logs, known)
    found = gathered(session, views, spine.times, session.memory // SHARE if room is None else room)
    if found is not None:
        facts, features = found
        ordered = features_beside(session, plan, spine, features)
    else:
        facts = {view.use.label: _spilled(session, view) for view in views}
        ordered = session.batches(final_select(plan), BATCH)
    schema = pa.schema([*spine.table.schema, *ordered.schema])
    sql = [*(f"CREATE TEMP TABLE {view.table} AS\n{view.sql};" for view in views), f"{final_select(plan)};"]
    return Joined(schema, _beside(spine.table, ordered, schema), facts, "\n\n".join(sql))


def final_select(plan: ServicePlan) -> str:
    """The features of every view and the derived ones over them, in spine order."""
    scope = {name: request_column(index) for index, (name, _) in enumerate(plan.request)}
    scope.update({name: quoted(name) for name in plan.looked_up_names})
    looked_up = [f"{view_table(index)}.{quoted(name)}" for index, use in enumerate(plan.uses) for _, name in use.features]
    derived = [f"{render(parse_row(sql), scope)} AS {quoted(name)}" for name, sql in plan.derived]
    joins = "".join(f"\nJOIN {view_table(index)} USING ({ROW})" for index in range(len(plan.uses)))
    inner = f"SELECT s.*, {', '.join(looked_up)}\nFROM {SPINE} s{joins}"
    columns = [*(quoted(name) for name in plan.looked_up_names), *derived]
    return f"SELECT {', '.join(columns)}\nFROM (\n{inner}\n)\nORDER BY {ROW}"


def request_column(index: int) -> str:
    """The narrow spine's column for the request field at this position."""
    return f"__fs_r{index}"


def _narrow(plan: ServicePlan, spine: Spine) -> pa.Table:
    """Only what the join reads, under names of its own: the spine's other columns may be called anything."""
    columns: dict[str, pa.ChunkedArray | pa.Array] = {ROW: numbers(spine.table.num_rows), T: spine.times}
    for index, column in enumerate(spine.keys):
        columns[f"__fs_c{index}"] = spine.keys[column]
    for index, (name, _) in enumerate(plan.request):
        columns[request_column(index)] = spine.request[name]
    return pa.table(columns)


def _spilled(session: Session, view: ViewJoin) -> ViewFacts:
    """Leave all of a view's features in its temporary table, which the engine keeps in memory or on disk."""
    session.add(LOG, view.rows())
    session.run(f"CREATE OR REPLACE TEMP TABLE {view.table} AS {view.sql}")
    return facts_of(session, view)


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
