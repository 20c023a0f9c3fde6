"""The point-in-time join of a whole service: view by view against logs of feature rows, then side by side with the spine."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from featurestore.compiler.expressions import parse_row, quoted, render
from featurestore.compiler.point_in_time import CREATED_TIME, FEATURE_TIME, KNOWN, ROW, T, as_of_join, key_column
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.session import Relation, Session
from featurestore.errors import Conflict, RequestError
from featurestore.pipelines import times
from featurestore.pipelines.spine import Spine, time_range

BATCH = 65_536
SPINE = "spine"


class Log(Protocol):
    """The feature rows of one version of a view: keys, feature_timestamp, created_timestamp, features."""

    @property
    def through(self) -> int | None:
        """The watermark in microseconds; None when nothing was ever materialized."""

    @property
    def corrected(self) -> bool:
        """Whether there may be several versions of a row, of which the latest created one holds."""

    def rows(self, columns: Sequence[str], lower: int | None, upper: int | None) -> Relation:
        """These columns; rows with feature_timestamp outside [lower, upper], in microseconds, may be left out."""


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


def join(session: Session, plan: ServicePlan, spine: Spine, logs: Mapping[str, Log], known: str) -> Joined:
    """Join a spine with the logs of the plan's feature tables. Every spine row comes out once, in order, whatever its keys.

    Raises: RequestError for an unknown `known`; Conflict if the result would hold a row from after its spine row.
    """
    if known not in KNOWN:
        raise RequestError(f"known={known!r} must be 'now' (the latest correction) or 'then' (what was known at the spine's time)")
    session.add(SPINE, _narrow(plan, spine))
    statements: list[str] = []
    facts: dict[str, ViewFacts] = {}
    for index, use in enumerate(plan.uses):
        sql = _join_view(session, use, index, spine, logs[use.table], known)
        statements.append(f"CREATE TEMP TABLE {view_table(index)} AS\n{sql};")
        facts[use.label] = _facts(session, use, index, logs[use.table], known)
    final = final_select(plan)
    ordered = session.batches(final, BATCH)
    schema = pa.schema([*spine.table.schema, *ordered.schema])
    return Joined(schema, _beside(spine.table, ordered, schema), facts, "\n\n".join([*statements, f"{final};"]))


def view_table(index: int) -> str:
    """The temporary table in which a join leaves what the view at this position of the plan had for each spine row."""
    return f"v{index}"


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
    columns: dict[str, pa.ChunkedArray | pa.Array] = {ROW: _numbers(spine.table.num_rows), T: spine.times}
    for index, column in enumerate(spine.keys):
        columns[f"__fs_c{index}"] = spine.keys[column]
    for index, (name, _) in enumerate(plan.request):
        columns[request_column(index)] = spine.request[name]
    return pa.table(columns)


def _numbers(rows: int) -> pa.Array:
    """0, 1, 2, ...; not by pa.array, which imports pandas, where that is installed, to look at what it is given."""
    return pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(array("q", range(rows)))])


def _join_view(session: Session, use: ViewUse, index: int, spine: Spine, log: Log, known: str) -> str:
    columns = dict.fromkeys([*(key for key, _ in use.keys), "feature_timestamp", "created_timestamp", *(name for name, _ in use.features)])
    ends = time_range(spine.times)
    lower = None if ends is None or use.ttl is None else max(ends[0] - use.ttl, times.FIRST)
    session.add("log", log.rows(list(columns), lower, None if ends is None else ends[1]))
    within = "false" if ends is None else f"feature_timestamp <= make_timestamptz({ends[1]})"
    if lower is not None:
        within += f" AND feature_timestamp >= make_timestamptz({lower})"
    request_columns = list(spine.keys)
    keys = [
        f"CAST(__fs_c{request_columns.index(column)} AS {kind}) AS {key_column(i)}"
        for i, ((_, column), kind) in enumerate(zip(use.keys, use.key_types, strict=True))
    ]
    own = f"(SELECT {ROW}, {T}, {', '.join(keys)} FROM {SPINE})"
    sql = as_of_join(use, own, f"(SELECT * FROM log WHERE {within})", known=known, corrected=log.corrected)
    session.run(f"CREATE TEMP TABLE {view_table(index)} AS {sql}")
    return sql


def _facts(session: Session, use: ViewUse, index: int, log: Log, known: str) -> ViewFacts:
    past = "true" if log.through is None else f"epoch_us({T}) > {log.through}"
    row = (
        session.batches(
            f"SELECT count(*) FILTER (WHERE {past}) AS past, max(epoch_us({FEATURE_TIME}) - epoch_us({T})) AS feature,"
            f" max(epoch_us({CREATED_TIME}) - epoch_us({T})) AS created FROM {SPINE} JOIN {view_table(index)} USING ({ROW})"
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
        columns = [column.chunk(0) if column.num_chunks else pa.nulls(0, column.type) for column in rows.columns]
        yield pa.RecordBatch.from_arrays([*columns, *batch.columns], schema=schema)
    if done != spine.num_rows:
        raise Conflict(f"the join gave {done} rows for a spine of {spine.num_rows}; nothing was written")
