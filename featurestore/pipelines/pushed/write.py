"""Write a frame of any size to a pushed source: new rows go through the log, and a merge corrects those that the table has."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.copied_rows import new_rows
from featurestore.dsl.source import ACKNOWLEDGED, Source
from featurestore.errors import CommitConflict, RequestError, brief
from featurestore.lakehouse import commits, row_swap, tables, writes
from featurestore.lakehouse.casting import cast_batch
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.pipelines.pushed.rows import read_pushed
from featurestore.pipelines.pushed.target import find_target
from featurestore.push.lot import ACKNOWLEDGED_TYPE, make_lot
from featurestore.records.authors import AUTHOR
from featurestore.records.leases import Leases
from featurestore.records.names import source_name
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.pushed_table import load_pushed_table
from featurestore.sources.kept.refresh import ATTEMPTS, CopyRefresh
from featurestore.values import times
from featurestore.values.result import SNAPSHOT_ID, Result

SourceWriteMode: TypeAlias = Literal["append", "merge"]
MODES: tuple[SourceWriteMode, ...] = ("append", "merge")
LOT_ROWS = 50_000
WAIT = timedelta(minutes=10)


@dataclass(frozen=True, eq=False)
class SourceWrite(Result):
    """What became of a write: of its `rows`, `new` were added, and `corrected` replaced others of the same id; the others were there.

    `snapshot_id` is that of the source's table after the write, None while it has no rows.
    """

    source: str
    mode: SourceWriteMode
    rows: int
    new: int
    corrected: int
    snapshot_id: int | None = field(metadata=SNAPSHOT_ID)


def check_source_mode(mode: Any) -> SourceWriteMode:
    """Check the mode of a write to a source. Raises: RequestError."""
    for known in MODES:
        if mode == known:
            return known
    raise RequestError(f"mode={brief(mode)} must be one of {', '.join(map(repr, MODES))}", field="mode")


def write_source(runtime: Runtime, source: str | Source, frame: Any, mode: str) -> SourceWrite:
    """Write rows to the table of a source with a schema. "append" adds rows, of which those with a known id are left out; "merge" also
    replaces rows that have the same id and other values.

    Raises: NotFound; Conflict; RequestError and TypeMismatch naming row and column, with nothing written; LeaseHeld; CommitConflict.
    """
    checked = check_source_mode(mode)
    runtime = runtime.as_operator()
    target = find_target(runtime, source_name(source), fresh=True)
    applied = target.source
    if checked == "merge" and applied.id is None:
        raise RequestError(f"mode='merge' replaces rows of the same id, and source {applied.name} has no id=", field="mode")
    rows = read_pushed(frame, applied, max(times.now(), runtime.pushes.latest), bounded=False)
    if checked == "merge" and pc.count_distinct(_plain(rows.column(str(applied.id)))).as_py() < rows.num_rows:
        raise RequestError(f"the frame has rows with the same '{applied.id}'; a merge needs one row for each", field=applied.id)
    lots = [make_lot(rows.slice(start, LOT_ROWS), applied.timestamp, applied.id) for start in range(0, rows.num_rows, LOT_ROWS)]
    new = sum(done.rows for done in runtime.event_log.append(target.stream, lots)) if lots else 0
    with Leases(runtime, WAIT.total_seconds()) as leases:
        CopyRefresh(runtime, leases).refresh(applied)
        corrected = 0
        if checked == "merge" and new < rows.num_rows:
            undone = "new rows were added, and none was corrected; write again"
            corrected = commits.retry(
                applied.kept_table, lambda: _correct(runtime, applied, leases, rows), undone=undone, attempts=ATTEMPTS
            )
        granted = load_pushed_table(runtime, applied)
    return SourceWrite(applied.name, checked, rows.num_rows, new, corrected, granted.table.snapshot_id)


def _correct(runtime: Runtime, source: Source, leases: Leases, rows: pa.Table) -> int:
    """Replace the stored rows that have the ids of these and other values, in one commit. Returns how many there were."""
    granted, id = load_pushed_table(runtime, source), str(source.id)
    _hold(leases, granted.table)
    schema = tables.arrow_schema(granted.table)
    now = pa.repeat(pa.scalar(max(times.now(), runtime.pushes.latest), pa.int64()), rows.num_rows).cast(ACKNOWLEDGED_TYPE)
    given = rows.append_column(ACKNOWLEDGED, now)
    for column in schema:
        if column.name not in given.column_names:
            given = given.append_column(column, pa.nulls(rows.num_rows, column.type))
    given = pa.Table.from_batches([cast_batch(batch, schema, granted.name) for batch in given.to_batches()], schema)
    changed = _changed(runtime, granted, source, given)
    if changed.num_rows:
        matched = row_swap.matching(granted, id, changed.column(id).combine_chunks())
        summary = {writes.OPERATION: "merge", AUTHOR: runtime.author}
        row_swap.swap(granted, matched, [changed.to_reader()], summary=summary, properties={})
    return int(changed.num_rows)


def _changed(runtime: Runtime, granted: Granted, source: Source, given: pa.Table) -> pa.Table:
    """The rows that differ from the stored ones of the same ids, in another column than the time at which they were acknowledged."""
    id = str(source.id)
    matched = row_swap.matching(granted, id, given.column(id).combine_chunks())
    names = [name for name in given.column_names if name != ACKNOWLEDGED]
    with runtime.engine.session() as session:
        here = session.add("__fs_rows", given.select(names))
        there = session.add("__fs_stored", row_swap.matched_rows(granted, matched))
        different = session.batches(new_rows(here, there, names)).read_all().select([id])
    only = pa.schema([given.schema.field(id)])
    ids = pa.Table.from_batches([cast_batch(batch, only, granted.name) for batch in different.to_batches()], only).column(id)
    return given.filter(pc.is_in(_plain(given.column(id)), value_set=_plain(ids)))


def _hold(leases: Leases, table: Table) -> None:
    if leases.hold(table):
        raise CommitConflict(f"another process has written to {table.name} meanwhile", table=table.name)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without an extension type, which Arrow does not compare."""
    return column.cast(column.type.storage_type) if isinstance(column.type, pa.BaseExtensionType) else column
