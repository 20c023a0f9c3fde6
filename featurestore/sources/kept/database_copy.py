"""Copy new and changed rows of a table in a database, above a watermark, into the table that the store keeps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.copied_rows import new_rows, newest_rows
from featurestore.databases.postgres import PostgresTable, convert
from featurestore.dsl.durations import microseconds
from featurestore.dsl.source import Source
from featurestore.errors import RequestError
from featurestore.lakehouse import row_swap, tables
from featurestore.lakehouse.casting import cast_batch
from featurestore.lakehouse.evolution import extend_columns
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.copied_table import WATERMARK, copied_columns, find_copy, make_copy
from featurestore.sources.kept.database_origin import open_table, table_columns

PIECE_ROWS = 500_000
PIECE_BYTES = 128 << 20
"""A commit has about so many rows, or bytes of them; the first of a run also has all rows that may have been copied before."""
OVERLAP = "5m"
"""How far behind the watermark rows are read again by default: transactions may commit them late."""
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

OnCopied = Callable[[int, int], None]


def copy_table(runtime: Runtime, source: Source, report: OnCopied, hold: Callable[[Table], None]) -> bool:
    """Bring the copy of a table up to date with one state of it, in pieces that each are one commit: a run that is stopped continues there.

    Rows at or above the watermark of the last copy, minus the overlap, are read. Of these, rows that the copy has are left alone; with an
    `id`, other rows of the copy with the same one are replaced. After a column was added to the table, all rows are copied again.
    `hold` is called before the copy is written. Returns whether it was.
    Raises: NotFound; RequestError for values that cannot be stored, and as `table_columns`; CommitConflict if another process copies too;
    NotReady; Timeout; OutOfResources. Pieces that were committed stay.
    """
    granted = find_copy(runtime, source)
    with open_table(runtime, source) as table:
        columns = table_columns(source, table, None if granted is None else copied_columns(granted))
        if granted is None:
            granted = make_copy(runtime, source, columns)
        again = len(columns) > len(copied_columns(granted))
        before = granted.table.metadata_location
        if again:
            hold(granted.table)
            extend_columns(granted.table, columns)
        copy = _Copy(runtime, source, granted, table.name, _watermark(source, granted, again), hold)
        replaced = row_swap.everything(granted) if again else None
        for number, piece in enumerate(_pieces(copy, _read(copy, table)), 1):
            copy.add(piece, replaced)
            replaced = None
            report(number, number)
        if replaced is not None:
            row_swap.swap(granted, replaced, [], summary={}, properties={})
        return granted.table.metadata_location != before


@dataclass(frozen=True)
class _Copy:
    """Adds rows to a copy. `before` is the watermark of the last one, None if all rows are copied; `hold` is called before a write."""

    runtime: Runtime
    source: Source
    granted: Granted
    table: str
    before: pa.Scalar | None
    hold: Callable[[Table], None]

    @property
    def schema(self) -> pa.Schema:
        """The columns of the copy."""
        return tables.arrow_schema(self.granted.table)

    @property
    def watermark(self) -> str:
        """The column with the watermark."""
        return str(self.source.watermark)

    @property
    def since(self) -> pa.Scalar | None:
        """The watermark from which rows are read again."""
        if self.before is None or not pa.types.is_timestamp(self.before.type):
            return self.before
        back = timedelta(microseconds=microseconds(self.source.overlap or OVERLAP))
        return pa.scalar(max(self.before.as_py(), _FIRST + back) - back, self.before.type)

    def add(self, rows: pa.Table, replaced: row_swap.Matched | None) -> None:
        """Add the rows of a piece that the copy does not have, and set the watermark; `replaced` are rows that they replace."""
        greatest = pc.max(rows.column(self.watermark))
        if replaced is None:
            rows, replaced = self._new_of_ids(rows) if self.source.id is not None else (self._new(rows), None)
        properties = {WATERMARK: _text(greatest)}
        readers = [rows.to_reader()] if rows.num_rows else []
        if not readers and self.granted.table.properties.get(WATERMARK) == properties[WATERMARK] and not (replaced and replaced.tasks):
            return
        self.hold(self.granted.table)
        row_swap.swap(self.granted, replaced, readers, summary=properties, properties=properties)

    def _new(self, rows: pa.Table) -> pa.Table:
        """The rows that the copy does not have."""
        if self.since is None or not pc.any(pc.less_equal(rows.column(self.watermark), self.before)).as_py():
            return rows
        return self._without(rows, row_swap.rows_from(self.granted, self.watermark, self.since))

    def _new_of_ids(self, rows: pa.Table) -> tuple[pa.Table, row_swap.Matched]:
        """As `_new`, with the last row of each id, and the rows that have the same ids."""
        name = str(self.source.id)
        if rows.column(name).null_count:
            raise RequestError(f"id='{name}' of {self.table} is NULL in some rows; name a column that identifies each row", column=name)
        with self.runtime.engine.session() as session:
            raw = session.add("__fs_rows", rows)
            newest = newest_rows(raw, name, self.watermark, rows.schema.names)
            rows = _as(session.batches(newest).read_all(), rows.schema, self.table)
        matched = row_swap.matching(self.granted, name, rows.column(name).combine_chunks())
        if not matched.tasks:
            return rows, matched
        rows = self._without(rows, row_swap.matched_rows(self.granted, matched))
        return rows, row_swap.matching(self.granted, name, rows.column(name).combine_chunks())

    def _without(self, rows: pa.Table, stored: pa.RecordBatchReader) -> pa.Table:
        with self.runtime.engine.session() as session:
            here, there = session.add("__fs_rows", rows), session.add("__fs_stored", stored)
            return _as(session.batches(new_rows(here, there, rows.schema.names)).read_all(), rows.schema, self.table)


def _as(table: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    """The rows with the types that they had before they went through the engine."""
    return pa.Table.from_batches([cast_batch(batch, schema, name) for batch in table.to_batches()], schema)


def _read(copy: _Copy, table: PostgresTable) -> Iterator[pa.RecordBatch]:
    """The rows of the table from the watermark on, with the types of the copy."""
    schema, column = copy.schema, copy.schema.field(copy.watermark)
    since = None if copy.since is None else _text(copy.since)
    until: str | None = None
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        # A row of the future would hide those that come before it.
        now = table.now()
        until = now.isoformat() if pa.types.is_timestamp(column.type) else now.date().isoformat()
    for batch in table.rows(copy.watermark, since, until):
        typed = cast_batch(convert(batch, schema, table.name), schema, table.name)
        _refuse_endless(typed, table.name)
        yield typed


def _pieces(copy: _Copy, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in pieces, the first of which has all rows up to the last watermark: equal ones are counted there."""
    piece: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        piece.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        newer = copy.before is None or batch.column(copy.watermark)[-1].as_py() > copy.before.as_py()
        if newer and (rows >= PIECE_ROWS or size >= PIECE_BYTES):
            yield pa.Table.from_batches(piece)
            piece, rows, size = [], 0, 0
    if piece:
        yield pa.Table.from_batches(piece)


def _refuse_endless(batch: pa.RecordBatch, table: str) -> None:
    """Raise RequestError for times that no table can store: those of infinity are beyond all years."""
    for field, values in zip(batch.schema, batch.columns, strict=True):
        if not (pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)) or values.null_count == len(values):
            continue
        whole = values.cast(pa.int64() if pa.types.is_timestamp(field.type) else pa.int32())
        first, last = (pa.scalar(bound.date() if pa.types.is_date(field.type) else bound, _zoned(field.type)) for bound in (_FIRST, _LAST))
        bounds = pc.min_max(whole).as_py()
        if bounds["min"] < first.cast(whole.type).as_py() or bounds["max"] > last.cast(whole.type).as_py():
            raise RequestError(
                f"column '{field.name}' of {table} has a time outside the years 1 to 9999, such as infinity, which no table stores; read"
                " the table through a view without such rows, or with NULL for them",
                column=field.name,
            )


def _zoned(arrow_type: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", "UTC") if pa.types.is_timestamp(arrow_type) else arrow_type


def _watermark(source: Source, granted: Granted, again: bool) -> pa.Scalar | None:
    text = granted.table.properties.get(WATERMARK)
    if text is None or again:
        return None
    arrow_type = tables.arrow_schema(granted.table).field(str(source.watermark)).type
    if pa.types.is_timestamp(arrow_type):
        return pa.scalar(datetime.fromisoformat(text), arrow_type)
    return pa.scalar(date.fromisoformat(text), arrow_type) if pa.types.is_date(arrow_type) else pa.scalar(int(text), arrow_type)


def _text(watermark: pa.Scalar) -> str:
    value = watermark.as_py()
    return value.isoformat() if isinstance(value, date) else str(value)
