"""What a worker does of a join: it divides the spine and logs by keys, and joins one bucket of the keys as one machine joins all."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from featurestore.compiler import buckets
from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.query import columns_of as select
from featurestore.compiler.relations import IcebergFiles
from featurestore.compiler.row_policy import BoundPolicy
from featurestore.compiler.service_plan import ServicePlan
from featurestore.distribution.parquet_pieces import ReceivedPieces, columns_of, divide
from featurestore.distribution.work import Piece
from featurestore.distribution.worker_session import WorkerLimits, worker_session
from featurestore.engine.session import Session
from featurestore.joins.gather.plan import plan_gather
from featurestore.joins.view_join import Facts, ViewJoin
from featurestore.lakehouse.shipped import ScanPart, ShippedScan
from featurestore.spines.spine import SpineRows
from featurestore.values.int64 import row_numbers

SPINE_ROWS = "spine"
MEMORY_DIVISOR = 2
"""As of a join on one machine."""

NOTHING = IcebergFiles((), ())

JoinPart: TypeAlias = "bytes | tuple[int, ScanPart]"
"""Rows of the spine as an Arrow stream, or files of the log of the view at this position."""


@dataclass(frozen=True)
class ReceivedLog:
    """A log as the join on a worker sees it: what the driver knows about it, and the rows of a bucket."""

    through: int | None
    corrected: bool
    deletions: bool
    policy: BoundPolicy | None
    relation: IcebergFiles = NOTHING

    def rows(self, columns: Sequence[str], lower: int | None, upper: int | None) -> IcebergFiles:
        """See Log."""
        return self.relation

    def files(self, columns: Sequence[str], lower: int | None, upper: int | None) -> None:
        """See Log."""
        return


@dataclass(frozen=True)
class JoinedBucket:
    """The rows of the spine in a bucket with their features, as an Arrow stream with their numbers in ROW, and the facts of each view."""

    data: bytes
    facts: Facts


@dataclass(frozen=True, repr=False)
class JoinWork:
    """Join a spine with the logs of views that have the same key columns.

    `plan` has these views only, and no derived features; `views` have ReceivedLogs, and `scans` read the logs' files. `timestamp` is the
    spine's column of times, `keys` are its key columns by their names in the request.
    """

    plan: ServicePlan
    views: tuple[ViewJoin, ...]
    scans: tuple[ShippedScan, ...]
    timestamp: str
    keys: tuple[str, ...]
    buckets: int
    limits: WorkerLimits

    def spread(self, part: JoinPart) -> Iterator[Piece]:
        """Yield rows of the spine, or of a log, by bucket."""
        if isinstance(part, bytes):
            yield from self._spread_spine(from_stream(part))
            return
        number, files = part
        view, scan = self.views[number], self.scans[number]
        with worker_session(self.limits, scan.folders()) as session:
            rows = view.relevant_rows(session.add("log", scan.read(files)))
            keys = [(column, sql_type) for (column, _), sql_type in zip(view.use.keys, view.use.key_types, strict=True)]
            bucket = buckets.bucket_of([buckets.cast_key(*key) for key in keys], self.buckets)
            types = scan.sql_types()
            yield from divide(session, buckets.with_bucket(select(rows, view.columns), list(types), bucket), types, _kind(number))

    def compute(self, bucket: int, pieces: Iterable[Piece]) -> JoinedBucket | None:
        """Join a bucket; None if it has no rows of the spine. Raises: as `joins.join`."""
        spines: list[pa.Table] = []
        with worker_session(self.limits, ()) as session:
            received = ReceivedPieces(session)
            for piece in pieces:
                if piece.kind == SPINE_ROWS:
                    spines.append(from_stream(piece.data))
                else:
                    received.add(piece)
            return self._join(session, received, pa.concat_tables(spines).combine_chunks()) if spines else None

    def _join(self, session: Session, received: ReceivedPieces, spine: pa.Table) -> JoinedBucket:
        views = [self._received_view(number, received) for number in range(len(self.views))]
        joiner = plan_gather(session, self.plan, views, session.memory // MEMORY_DIVISOR)
        times = spine.select([name for name in spine.schema.names if name != ROW and name not in map(key_column, range(len(self.keys)))])
        keys = {name: spine.column(key_column(index)) for index, name in enumerate(self.keys)}
        rows = SpineRows(times, self.timestamp, keys, {})
        parts: list[pa.Table] = []
        for start in range(0, spine.num_rows, joiner.rows_at_once):
            features = joiner.features(rows.slice(start, joiner.rows_at_once)).read_all()
            parts.append(features.append_column(ROW, spine.column(ROW).slice(start, joiner.rows_at_once)))
        return JoinedBucket(to_stream(pa.concat_tables(parts)), joiner.facts)

    def _received_view(self, number: int, received: ReceivedPieces) -> ViewJoin:
        view = self.views[number]
        assert isinstance(view.log, ReceivedLog)
        relation = received.rows(_kind(number), columns_of(self.scans[number].sql_types()))
        return replace(view, log=replace(view.log, relation=relation))

    def _spread_spine(self, spine: pa.Table) -> Iterator[Piece]:
        """The rows of a part of the spine by bucket, in Arrow: their keys are to be of the same Arrow types as on one machine."""
        sql_types = self.views[0].use.key_types
        numbered = spine.drop_columns([ROW]).append_column(ROW, row_numbers(spine.num_rows))
        with worker_session(self.limits, ()) as session:
            added = session.add("spine", numbered.select([ROW, *map(key_column, range(len(self.keys)))]))
            keys = [buckets.cast_key(key_column(index), sql_type) for index, sql_type in enumerate(sql_types)]
            bucket = buckets.spread_nulls(buckets.bucket_of(keys, self.buckets), keys, ROW, self.buckets)
            found = session.batches(buckets.with_bucket(added, [ROW], bucket)).read_all()
        places = np.empty(spine.num_rows, np.int64)
        places[found.column(ROW).to_numpy()] = found.column(buckets.BUCKET).to_numpy()
        order = np.argsort(places, kind="stable")
        ends = np.searchsorted(places[order], np.arange(self.buckets + 1))
        ordered = spine.take(pa.array(order))
        for number in np.flatnonzero(np.diff(ends)).tolist():
            yield Piece(number, SPINE_ROWS, to_stream(ordered.slice(ends[number], ends[number + 1] - ends[number])))


def key_column(index: int) -> str:
    """The name of the spine's key column at this position of `JoinWork.keys`, among the columns of times, which may be called anything."""
    return f"__fs_c{index}"


def to_stream(table: pa.Table) -> bytes:
    """A table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_stream(data: bytes) -> pa.Table:
    """The table of an Arrow stream."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def _kind(number: int) -> str:
    return f"log{number}"
