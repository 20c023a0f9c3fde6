"""The point-in-time join of a whole service: view by view against pinned snapshots, then side by side with the spine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from featurestore.compiler.expressions import parse_row, quoted, render
from featurestore.compiler.point_in_time import CREATED_TIME, FEATURE_TIME, KNOWN, ROW, T, as_of_join, key_column
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.session import Session
from featurestore.errors import Conflict, NotFound, RequestError
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.tables import Table
from featurestore.pipelines import feature_table, times
from featurestore.pipelines.feature_table import State
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.spine import Spine, time_range

BATCH = 65_536


@dataclass(frozen=True)
class Pinned:
    """A feature table at the snapshot to read; `snapshot_id` None reads no rows. `state` is what it was made of."""

    table: Table
    snapshot_id: int | None
    state: State


@dataclass(frozen=True)
class ViewFacts:
    """What the join saw of one view: spine rows past its watermark, and the greatest distances that prove no leak.

    Distances are feature_timestamp - t and created_timestamp - t over the rows that found a feature row, in
    microseconds; None when none did.
    """

    past_watermark: int
    feature_minus_spine: int | None
    created_minus_spine: int | None


@dataclass(frozen=True)
class Joined:
    """The result: spine columns then features, in spine order; a stream to be read once, while the join is open."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    facts: Mapping[str, ViewFacts]
    sql: str


def pin(parts: Parts, plan: ServicePlan, snapshots: Mapping[str, int | None] | None = None) -> dict[str, Pinned]:
    """The plan's feature tables at these snapshots, or at their current ones.

    Raises: NotFound for a table of another name, or a snapshot that the table does not have.
    """
    names = list(dict.fromkeys(use.table for use in plan.uses))
    for name in snapshots or {}:
        if name not in names:
            raise NotFound("feature table", name, names, f"service {plan.service}")
    pinned: dict[str, Pinned] = {}
    for name in names:
        table = tables.load(parts.catalog, parts.features_table(name))
        snapshot_id = (snapshots or {}).get(name, tables.current_snapshot_id(table))
        if snapshot_id is not None and snapshot_id not in tables.snapshot_ids(table):
            raise NotFound("snapshot", str(snapshot_id), map(str, tables.snapshot_ids(table)), parts.features_table(name))
        pinned[name] = Pinned(table, snapshot_id, feature_table.state_at(table, snapshot_id))
    return pinned


@contextmanager
def join(parts: Parts, plan: ServicePlan, spine: Spine, pinned: Mapping[str, Pinned], known: str) -> Iterator[Joined]:
    """Open the join. Every spine row comes out once, in order, whatever its keys.

    Raises: RequestError for an unknown `known`; Conflict if the result would hold a row from after its spine row.
    """
    if known not in KNOWN:
        raise RequestError(f"known={known!r} must be 'now' (the latest correction) or 'then' (what was known at the spine's time)")
    with parts.engine.session() as session:
        session.add("spine", _narrow(plan, spine))
        statements: list[str] = []
        facts: dict[str, ViewFacts] = {}
        for index, use in enumerate(plan.uses):
            sql = _join_view(session, use, index, spine, pinned[use.table], known)
            statements.append(f"CREATE TEMP TABLE v{index} AS\n{sql};")
            facts[use.label] = _facts(session, use, index, pinned[use.table], known)
        final = final_select(plan)
        ordered = session.batches(final, BATCH)
        schema = pa.schema([*spine.table.schema, *ordered.schema])
        yield Joined(schema, _beside(spine.table, ordered, schema), facts, "\n\n".join([*statements, f"{final};"]))


def final_select(plan: ServicePlan) -> str:
    """The features of every view and the derived ones over them, in spine order."""
    scope = {name: request_column(index) for index, (name, _) in enumerate(plan.request)}
    scope.update({name: quoted(name) for name in plan.looked_up_names})
    looked_up = [f"v{index}.{quoted(name)}" for index, use in enumerate(plan.uses) for _, name in use.features]
    derived = [f"{render(parse_row(sql), scope)} AS {quoted(name)}" for name, sql in plan.derived]
    joins = "".join(f"\nJOIN v{index} USING ({ROW})" for index in range(len(plan.uses)))
    inner = f"SELECT s.*, {', '.join(looked_up)}\nFROM spine s{joins}"
    columns = [*(quoted(name) for name in plan.looked_up_names), *derived]
    return f"SELECT {', '.join(columns)}\nFROM (\n{inner}\n)\nORDER BY {ROW}"


def request_column(index: int) -> str:
    """The narrow spine's column for the request field at this position."""
    return f"__fs_r{index}"


def _narrow(plan: ServicePlan, spine: Spine) -> pa.Table:
    """Only what the join reads, under names of its own: the spine's other columns may be called anything."""
    columns: dict[str, pa.ChunkedArray | pa.Array] = {ROW: pa.array(range(spine.table.num_rows), pa.int64()), T: spine.times}
    for index, column in enumerate(spine.keys):
        columns[f"__fs_c{index}"] = spine.keys[column]
    for index, (name, _) in enumerate(plan.request):
        columns[request_column(index)] = spine.request[name]
    return pa.table(columns)


def _join_view(session: Session, use: ViewUse, index: int, spine: Spine, pinned: Pinned, known: str) -> str:
    columns = dict.fromkeys([*(key for key, _ in use.keys), "feature_timestamp", "created_timestamp", *(name for name, _ in use.features)])
    ends = time_range(spine.times)
    lower = None if ends is None or use.ttl is None else max(ends[0] - use.ttl, times.FIRST)
    bounds = (
        None if ends is None else scans.TimeRange("feature_timestamp", None if lower is None else times.bound(lower), times.bound(ends[1]))
    )
    session.add("log", scans.scan(pinned.table, pinned.snapshot_id, columns=list(columns), time=bounds))
    within = "false" if ends is None else f"feature_timestamp <= make_timestamptz({ends[1]})"
    if lower is not None:
        within += f" AND feature_timestamp >= make_timestamptz({lower})"
    request_columns = list(spine.keys)
    keys = [
        f"CAST(__fs_c{request_columns.index(column)} AS {kind}) AS {key_column(i)}"
        for i, ((_, column), kind) in enumerate(zip(use.keys, use.key_types, strict=True))
    ]
    own = f"(SELECT {ROW}, {T}, {', '.join(keys)} FROM spine)"
    sql = as_of_join(use, own, f"(SELECT * FROM log WHERE {within})", known=known, corrected=pinned.state.corrections > 0)
    session.run(f"CREATE TEMP TABLE v{index} AS {sql}")
    return sql


def _facts(session: Session, use: ViewUse, index: int, pinned: Pinned, known: str) -> ViewFacts:
    through = pinned.state.through
    past = "true" if through is None else f"epoch_us({T}) > {through}"
    row = (
        session.batches(
            f"SELECT count(*) FILTER (WHERE {past}) AS past, max(epoch_us({FEATURE_TIME}) - epoch_us({T})) AS feature,"
            f" max(epoch_us({CREATED_TIME}) - epoch_us({T})) AS created FROM spine JOIN v{index} USING ({ROW})"
        )
        .read_all()
        .to_pylist()[0]
    )
    facts = ViewFacts(row["past"], row["feature"], row["created"])
    late = [facts.feature_minus_spine, *([facts.created_minus_spine] if known == "then" else [])]
    if any(distance is not None and distance > 0 for distance in late):
        raise Conflict(f"the join of {use.label} would leak: it holds a row from after its spine row ({facts}); nothing was written")
    return facts


def _beside(spine: pa.Table, features: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The spine's rows with their features, batch by batch."""
    done = 0
    for batch in features:
        rows = spine.slice(done, batch.num_rows).combine_chunks()
        done += batch.num_rows
        columns = [column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in rows.columns]
        yield pa.RecordBatch.from_arrays([*columns, *batch.columns], schema=schema)
    if done != spine.num_rows:
        raise Conflict(f"the join gave {done} rows for a spine of {spine.num_rows}; nothing was written")


def past_watermark_warnings(plan: ServicePlan, facts: Mapping[str, ViewFacts], pinned: Mapping[str, Pinned]) -> list[str]:
    """A sentence for every view that is not materialized as far as the spine reaches."""
    said: list[str] = []
    for use in plan.uses:
        count = facts[use.label].past_watermark
        if count:
            through = times.text(pinned[use.table].state.through)
            state = f"is materialized through {through}" if through else "was never materialized"
            said.append(f"view {use.view} {state}, but {count} spine rows are later: their features may be older than they should be")
    return list(dict.fromkeys(said))
