"""The events of a pushed source as they are now: the rows of its table, and those of the push log that are not copied into it yet."""

import pyarrow as pa

from featurestore.compiler.events import Events
from featurestore.compiler.parameters import SOURCE
from featurestore.compiler.pushed_rows import acknowledged_since, with_log_rows
from featurestore.compiler.query import all_rows
from featurestore.compiler.relations import Handle, IcebergFiles
from featurestore.dsl.source import ACKNOWLEDGED, Source
from featurestore.engine.session import Session
from featurestore.errors import NotReady
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.casting import cast_batch
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.push.event_log import THROUGH
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.pushed_table import copied_through
from featurestore.sources.reading import SourceRows, TimeBounds
from featurestore.values import times

READ_ROWS = 100_000
"""Rows of the log that are read at a time."""
KEPT_ROWS = 2_000_000
"""Up to so many rows of the table are kept in the session; more are read from its files each time."""
_STORED, _KEPT, _TAIL, _PINNED, _TYPED = (f"__fs_pushed_{name}" for name in ("stored", "kept", "tail", "pinned", "typed"))


class PushedEvents:
    """Raw rows (see `RawRows`) of a source at a state of its table, with the events of the log up to `offset`."""

    def __init__(self, runtime: Runtime, source: Source, granted: Granted) -> None:
        """`granted` is the table of the source as it was just loaded."""
        self._runtime, self._source, self._granted = runtime, source, granted
        self.schema = tables.arrow_schema(granted.table)
        self.copied = copied_through(granted)
        """The offset up to which the table has the events of the log."""
        self.offset = self.copied
        self._tails: list[tuple[int, pa.Table]] = []
        self._kept_from: int | None = None
        self._types: dict[tuple[str, str], dict[str, str]] = {}

    @property
    def stream(self) -> str:
        """The name of the source's stream in the log."""
        return self._granted.table.uuid

    def read_log(self, until: int | None = None) -> bool:
        """Read what the log has after `offset` (at most the lots up to about `until`); whether there was anything.

        Raises: NotReady if it was trimmed since the table was loaded, or has lost events.
        """
        found = False
        while until is None or self.offset < until:
            tail = self._runtime.event_log.read(self.stream, self.offset, READ_ROWS)
            if tail is None:
                break
            self._tails.append((tail.last, self._complete(tail.rows)))
            self.offset, found = tail.last, True
        return found

    def after(self, offset: int) -> pa.Table | None:
        """The rows of the log after an offset, and maybe some before it; None if the log was read from a later offset on."""
        if offset < self.copied:
            return None
        return pa.concat_tables([self.schema.empty_table(), *(rows for last, rows in self._tails if last > offset)])

    def not_in(self, session: Session, snapshot_id: int | None) -> pa.Table:
        """The rows that a snapshot of the table does not have, and maybe some that it has, up to `offset`."""
        table = self._granted.table
        if snapshot_id is not None and snapshot_id in table.snapshot_ids:
            made = tables.committed_us(table, snapshot_id)
            before = [other for other in table.snapshot_ids if tables.committed_us(table, other) <= made]
            through = max((int(tables.summary(table, other).get(THROUGH, "0")) for other in before), default=0)
            try:
                return self._read_between(through)
            except NotReady:
                # Trimmed: the table has them.
                pass
        else:
            snapshot_id = None
        stored = session.add(_STORED, self._scan(None))
        rows = all_rows(stored)
        if snapshot_id is not None:
            pinned = session.add(_PINNED, scans.scan_snapshot(self._granted, snapshot_id, columns=[ACKNOWLEDGED]))
            rows = acknowledged_since(stored, pinned)
        found = session.batches(rows).read_all()
        batches = [cast_batch(batch, self.schema, self._granted.name) for batch in found.to_batches()]
        return pa.concat_tables([pa.Table.from_batches(batches, self.schema), *(rows for _, rows in self._tails)])

    def _read_between(self, after: int) -> pa.Table:
        parts = [self.schema.empty_table()]
        while after < self.offset and (tail := self._runtime.event_log.read(self.stream, after, READ_ROWS)) is not None:
            parts.append(self._complete(tail.rows))
            after = tail.last
        return pa.concat_tables(parts)

    def types(self, session: Session, events: Events, name: str) -> dict[str, str]:
        """The DuckDB types of a view's events, by the name of its table: they are the same for all rows."""
        key = (name, events.selected)
        if key not in self._types:
            raw = session.add(_TYPED, self.schema.empty_table())
            self._types[key] = session.schema(events.rows(raw, times.FIRST, times.LAST))
        return self._types[key]

    def keep(self, session: Session, lower: int) -> None:
        """Keep the rows of the table with event times from `lower` (microseconds) on in a session, for later reads of them."""
        stored = self._scan(TimeBounds(lower, times.LAST))
        handle = session.add(_STORED, stored)
        if isinstance(stored, IcebergFiles) and stored.rows > KEPT_ROWS:
            self._kept_from = None
            return
        session.create_table(_KEPT, all_rows(handle))
        self._kept_from = lower

    def add(self, session: Session, reads: object = None, bounds: TimeBounds | None = None, name: str = SOURCE) -> SourceRows:
        """See RawRows; all columns are read."""
        kept = self._kept_from is not None and bounds is not None and bounds.lower >= self._kept_from
        stored = Handle(_KEPT) if kept else session.add(_STORED, self._scan(bounds))
        tail = session.add(_TAIL, pa.concat_tables([self.schema.empty_table(), *(rows for _, rows in self._tails)]))
        return SourceRows(session.create_view(name, with_log_rows(stored, tail, self.schema.names)))

    def _scan(self, bounds: TimeBounds | None) -> IcebergFiles | pa.RecordBatchReader:
        time = None if bounds is None else TimeRange(self._source.timestamp, times.bound(bounds.lower), times.bound(bounds.upper))
        return scans.scan_snapshot(self._granted, self._granted.table.snapshot_id, time=time)

    def _complete(self, rows: pa.Table) -> pa.Table:
        """The rows with the columns of the table, of which some may be newer than they are."""
        for field in self.schema:
            if field.name not in rows.column_names:
                rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
        named = rows.select(self.schema.names)
        return pa.Table.from_batches([cast_batch(batch, self.schema, self._granted.name) for batch in named.to_batches()], self.schema)
