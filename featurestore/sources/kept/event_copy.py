"""Copy what was pushed to a source from the log into its Iceberg table, each event exactly once."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.dsl.durations import microseconds
from featurestore.dsl.source import Source
from featurestore.errors import CommitConflict
from featurestore.lakehouse import row_swap, tables
from featurestore.lakehouse.casting import cast_batch
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.lakehouse.table import Table
from featurestore.push.event_log import PUSH_LOG, SINCE, THROUGH, Tail, lost
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.pushed_table import copied_through, load_pushed_table
from featurestore.values import times

PIECE_ROWS = 200_000
"""A commit has about so many rows."""
STAYS = 600_000_000
"""For how long, in microseconds, events stay in the log after they were copied: what serves them from there has time to notice."""

OnCopied = Callable[[int, int], None]


def copy_events(runtime: Runtime, source: Source, report: OnCopied, hold: Callable[[Table], None]) -> bool:
    """Copy the events after the last copied offset, in pieces that each are one commit with the new offset: whoever is killed, no event is
    lost or copied twice. Then trim the log.

    `hold` is called before the table is written. Returns whether it was.
    Raises: NotReady if the log cannot be reached, lost events, or is another one; Conflict for a column of another type; CommitConflict if
    another process copies too. Pieces that were committed stay.
    """
    granted = load_pushed_table(runtime, source)
    log, stream = runtime.event_log, granted.table.uuid
    through, last = copied_through(granted), log.last(granted.table.uuid)
    if last < through:
        raise lost(stream, through, last)
    done = 0
    while (tail := log.read(stream, through, PIECE_ROWS)) is not None:
        hold(granted.table)
        rows = _new_rows(runtime, source, granted, _with_all_columns(granted, tail))
        through = tail.last
        about = {THROUGH: str(through), PUSH_LOG: log.identity()}
        row_swap.swap(granted, None, [rows.to_reader()] if rows.num_rows else [], summary=about, properties=about)
        done += 1
        report(done, done)
    if (settled := _settled(granted.table)) > 0:
        log.trim(stream, settled, times.now() - STAYS)
    return done > 0


def _with_all_columns(granted: Granted, tail: Tail) -> pa.Table:
    """The rows with the columns of the table."""
    schema, rows = tables.arrow_schema(granted.table), tail.rows
    if unknown := [name for name in rows.column_names if name not in schema.names]:
        # Columns are added to the table before rows with them are pushed.
        raise CommitConflict(f"the table {granted.name} got the column {unknown[0]!r} meanwhile", table=granted.name)
    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return pa.Table.from_batches([cast_batch(batch, schema, granted.name) for batch in rows.to_batches()], schema)


def _new_rows(runtime: Runtime, source: Source, granted: Granted, rows: pa.Table) -> pa.Table:
    """The rows without those of ids that the log has forgotten, and that the table has at these times."""
    if source.id is None or granted.table.snapshot_id is None:
        return rows
    at = rows.column(source.timestamp).cast(pa.int64())
    # No event is acknowledged before it happens, and the log remembers the ids of all that were acknowledged since.
    known = max(times.now() - microseconds(runtime.settings.push_remembers), int(granted.table.properties.get(SINCE, "0")))
    old = rows.filter(pc.less(at, known))
    if not old.num_rows:
        return rows
    ends = pc.min_max(old.column(source.timestamp).cast(pa.int64())).as_py()
    within = TimeRange(source.timestamp, ends["min"], ends["max"])
    return row_swap.without_stored(granted, rows, source.id, old.column(source.id).combine_chunks(), within)


def _settled(table: Table) -> int:
    """The offset up to which events have been in the table for long enough; 0 if none has."""
    before = times.now() - STAYS
    snapshots = (snapshot for snapshot in table.snapshot_ids if tables.committed_us(table, snapshot) < before)
    return max((int(tables.summary(table, snapshot).get(THROUGH, "0")) for snapshot in snapshots), default=0)
