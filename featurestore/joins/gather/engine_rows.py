"""Rows of a log that DuckDB reads: in memory if they fit, else in a file of the session."""

import uuid
from collections.abc import Iterable
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.compiler.query import columns_of
from featurestore.compiler.relations import Extent
from featurestore.engine.session import Relation, Session
from featurestore.joins.gather.log_buckets import SORT_BYTES
from featurestore.joins.gather.log_columns import FileRows, LogRows, MemoryRows
from featurestore.joins.gather.row_groups import RowGroup
from featurestore.joins.gather.workspace import Workspace
from featurestore.joins.view_join import LOG, ViewJoin

BATCH_ROWS = 65_536


def engine_rows(workspace: Workspace, view: ViewJoin, relation: Relation, room: int) -> LogRows:
    """The relevant rows of a relation, in memory if they and their sort need at most `room` bytes. Raises: OutOfResources."""
    reader = _reader(workspace.session, view, relation)
    batches = _fill(reader, room)
    rest = next(reader, None)
    if rest is None:
        return MemoryRows(pa.Table.from_batches(batches, reader.schema))
    return _write(workspace, chain(batches, [rest], reader), reader.schema)


def rows_in_memory(session: Session, view: ViewJoin, relation: Relation, room: int) -> MemoryRows | None:
    """The relevant rows of a relation; None if they and their sort need more than `room` bytes."""
    reader = _reader(session, view, relation)
    batches = _fill(reader, room)
    return MemoryRows(pa.Table.from_batches(batches, reader.schema)) if next(reader, None) is None else None


def _reader(session: Session, view: ViewJoin, relation: Relation) -> pa.RecordBatchReader:
    log = session.add(LOG.name, relation)
    return session.batches(columns_of(view.relevant_rows(log), view.columns), BATCH_ROWS)


def _fill(reader: pa.RecordBatchReader, room: int) -> list[pa.RecordBatch]:
    """The first batches, until they and their sort need more than `room` bytes."""
    batches: list[pa.RecordBatch] = []
    while room >= 0 and (batch := next(reader, None)) is not None:
        batches.append(batch)
        room -= batch.nbytes + batch.num_rows * SORT_BYTES
    return batches


def _write(workspace: Workspace, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> FileRows:
    path = workspace.session.folder / f"log-{uuid.uuid4().hex}.parquet"
    size = 0
    with workspace.writing(), pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=False) as writer:
        for batch in batches:
            writer.write_batch(batch)
            workspace.count(path.stat().st_size - size)
            size = path.stat().st_size
    footer = pq.read_metadata(path)
    groups = [
        RowGroup(str(path), footer, number, Extent(footer.row_group(number).num_rows, 0, 0)) for number in range(footer.num_row_groups)
    ]
    return FileRows({field.name: field.type for field in schema}, groups)
