"""The plan for what fits in memory: match keys, times and positions alone, and take the features by position."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.expressions import parse_row, quoted, render
from featurestore.compiler.point_in_time import ROW, as_of_join
from featurestore.compiler.relations import IcebergFiles
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Relation, Session
from featurestore.pipelines.numbers import number, numbers
from featurestore.pipelines.spine import Spine
from featurestore.pipelines.view_join import LOG, ViewFacts, ViewJoin, proven
from featurestore.pipelines.whole_files import whole

SHARE = 4
"""What is held is a quarter of the session's memory at most: it comes on top of what the session itself takes."""
POSITION = "__fs_position"
BATCH = 65_536
PIECE = 16 * BATCH
"""Rows taken at once: few enough that no column of texts passes the two gigabytes that Arrow can address."""
WIDTHS = {"DOUBLE": 8, "BIGINT": 8, "TIMESTAMP WITH TIME ZONE": 8, "FLOAT": 4, "INTEGER": 4, "DATE": 4, "VARCHAR": 4}


def gathered(
    session: Session, views: Sequence[ViewJoin], times: pa.ChunkedArray, room: int
) -> tuple[dict[str, ViewFacts], list[pa.Table]] | None:
    """For each view its facts, by label, and its features under their output names, a row for each of the spine's `times`.

    None when they do not fit in `room` bytes: then the temporary tables of the views say nothing. Raises: as `proven`.
    """
    rows = len(times)
    if any(_least(view.rows(), rows) > room for view in views):
        return None
    facts: dict[str, ViewFacts] = {}
    features: list[pa.Table] = []
    for view in views:
        log = _read(session, view, room)
        if log is None or room < log.nbytes + log.nbytes * rows // max(log.num_rows, 1):
            return None
        positions = _positions(session, view, log)
        facts[view.use.label] = proven(view, _facts(view, log, positions, times))
        features.append(_taken(view, log, positions))
        room -= features[-1].nbytes
    return facts, features


def features_beside(session: Session, plan: ServicePlan, spine: Spine, features: Sequence[pa.Table]) -> pa.RecordBatchReader:
    """The features of every view and the derived ones over them, in spine order."""
    columns = dict(zip(plan.looked_up_names, (column for table in features for column in table.columns), strict=True))
    looked_up = pa.table(columns)
    first = _with_derived(session, plan, spine, looked_up, 0)
    starts = range(BATCH, spine.table.num_rows, BATCH)
    return pa.RecordBatchReader.from_batches(first.schema, _batches(session, plan, spine, looked_up, first, starts))


def _batches(
    session: Session, plan: ServicePlan, spine: Spine, looked_up: pa.Table, first: pa.RecordBatch, starts: range
) -> Iterator[pa.RecordBatch]:
    yield first
    for start in starts:
        yield _with_derived(session, plan, spine, looked_up, start)


def _with_derived(session: Session, plan: ServicePlan, spine: Spine, looked_up: pa.Table, start: int) -> pa.RecordBatch:
    rows = looked_up.slice(start, BATCH)
    columns = list(rows.columns)
    if plan.derived:
        request = [spine.request[name].slice(start, BATCH) for name, _ in plan.request]
        columns += _derived(session, plan, [*columns, *request]).columns
    arrays = [column.combine_chunks() for column in columns]
    whole = [array.chunk(0) if isinstance(array, pa.ChunkedArray) else array for array in arrays]
    return pa.RecordBatch.from_arrays(whole, names=list(plan.feature_names))


def _derived(session: Session, plan: ServicePlan, columns: Sequence[pa.ChunkedArray]) -> pa.Table:
    """The derived features over these looked-up features and request fields."""
    kinds = [kind for use in plan.uses for kind in use.feature_types] + [kind for _, kind in plan.request]
    names = [*plan.looked_up_names, *(name for name, _ in plan.request)]
    inner = {f"__fs_g{index}": column for index, column in enumerate(columns)}
    session.add("gathered", pa.table({ROW: numbers(len(columns[0])), **inner}))
    scope = {name: f"CAST({column} AS {kind})" for name, column, kind in zip(names, inner, kinds, strict=True)}
    derived = ", ".join(f"{render(parse_row(sql), scope)} AS {quoted(name)}" for name, sql in plan.derived)
    return session.batches(f"SELECT {derived} FROM gathered ORDER BY {ROW}", BATCH).read_all()


def _least(relation: Relation, rows: int) -> int:
    """The bytes that a log takes in memory at least, with those of its features for every row of the spine; 0 where nothing tells."""
    if not isinstance(relation, IcebergFiles):
        return 0
    return (relation.rows + rows) * sum(WIDTHS.get(column.sql_type, 0) for column in relation.columns)


def _read(session: Session, view: ViewJoin, room: int) -> pa.Table | None:
    """The rows of a log, all that can matter and perhaps more; None when they are more than `room` bytes."""
    relation = view.rows()
    session.add(LOG, relation)
    select = f"SELECT {', '.join(map(quoted, view.columns))} FROM {view.within}"
    if isinstance(relation, IcebergFiles) and relation.paths:
        kinds = session.batches(f"{select} LIMIT 0").read_all().schema
        tables = whole(relation, view.columns, kinds, room)
        if tables is not None:
            return pa.concat_tables(tables)
    reader = session.batches(select, BATCH)
    batches: list[pa.RecordBatch] = []
    for batch in reader:
        room -= batch.nbytes
        if room < 0:
            return None
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def _positions(session: Session, view: ViewJoin, log: pa.Table) -> pa.Array:
    """For each spine row the position in the log of what it sees; NULL for nothing. The view's temporary table has it too."""
    own = list(dict.fromkeys([*(key for key, _ in view.use.keys), "feature_timestamp", "created_timestamp"]))
    session.add(LOG, log.select(own).append_column(POSITION, numbers(log.num_rows)))
    use = replace(view.use, features=((POSITION, POSITION),), feature_types=("BIGINT",))
    sql = as_of_join(use, view.spine, view.within, known=view.known, corrected=view.log.corrected)
    session.run(f"CREATE OR REPLACE TEMP TABLE {view.table} AS {sql}")
    return session.batches(f"SELECT {POSITION} FROM {view.table} ORDER BY {ROW}", BATCH).read_all().column(0).combine_chunks()


def _facts(view: ViewJoin, log: pa.Table, positions: pa.Array, times: pa.ChunkedArray) -> ViewFacts:
    through, asked = view.log.through, times.cast(pa.int64())
    past = len(times) if through is None else pc.sum(pc.greater(asked, number(through))).as_py() or 0
    distances = [
        pc.subtract(log.column(name).cast(pa.int64()).take(positions), asked) for name in ("feature_timestamp", "created_timestamp")
    ]
    return ViewFacts(positions.null_count, past, *(pc.max(distance).as_py() for distance in distances))


def _taken(view: ViewJoin, log: pa.Table, positions: pa.Array) -> pa.Table:
    wanted = log.select([column for column, _ in view.use.features]).rename_columns([name for _, name in view.use.features])
    starts = range(0, max(len(positions), 1), PIECE)
    return pa.concat_tables(wanted.take(positions.slice(start, PIECE)).combine_chunks() for start in starts)
