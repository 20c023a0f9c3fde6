"""What a worker does of a run: it divides files of the source and of the feature table by keys, and computes one bucket of the keys.

A bucket is computed by the same queries as on one machine, since keys do not depend on one another.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeAlias

from featurestore.compiler import buckets
from featurestore.compiler.chunk_rows import stored_rows
from featurestore.compiler.events import Events
from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.parameters import SOURCE
from featurestore.compiler.query import Query
from featurestore.compiler.relations import IcebergFiles
from featurestore.distribution.parquet_pieces import ReceivedPieces, columns_of, divide
from featurestore.distribution.work import Piece
from featurestore.distribution.worker_session import WorkerLimits, worker_session
from featurestore.dsl.view import FeatureView
from featurestore.engine.results import count
from featurestore.engine.session import Session
from featurestore.errors import OutOfResources
from featurestore.lakehouse import scans, writes
from featurestore.lakehouse.data_files import DataFiles
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.lakehouse.shipped import ScanPart, ShippedScan
from featurestore.pipelines.materialization.chunk_files import ChunkCounts, compute_chunk
from featurestore.pipelines.materialization.compute import SourceCounts, Task, count_rows, open_span
from featurestore.pipelines.materialization.halves import halve
from featurestore.pipelines.materialization.interval import Span
from featurestore.records.definitions import Applied
from featurestore.sources.reading import SourceRows, TimeBounds
from featurestore.sources.source_parts import Part, PartReader

SOURCE_ROWS, STORED_ROWS = "source", "stored"
"""The kinds of pieces: raw rows of the source, and rows that the feature table has."""
COUNTS = "counts"
"""The kind of a piece with the daily counts of a part."""

RunPart: TypeAlias = "tuple[str, Part]"
"""A part of the input with the kind of its rows."""


@dataclass(frozen=True, repr=False)
class CountWork:
    """Count the rows of a source by day; see `Events.daily_counts`. There is one bucket."""

    reader: PartReader
    events: Events
    run: int
    limits: WorkerLimits

    def spread(self, part: Part) -> Iterator[Piece]:
        """See Work."""
        with worker_session(self.limits, self.reader.folders()) as session:
            raw = session.add(SOURCE, self.reader.read(part))
            rows = session.batches(self.events.daily_counts(raw, self.run)).read_all().to_pylist()
        yield Piece(0, COUNTS, json.dumps(rows).encode())

    def compute(self, bucket: int, pieces: Iterable[Piece]) -> list[dict[str, int | None]]:
        """The rows of all parts."""
        return [row for piece in pieces for row in json.loads(piece.data)]


@dataclass(frozen=True)
class BucketResult:
    """A computed bucket: its counts, and the data files that were written, to which nothing refers yet."""

    counts: ChunkCounts
    files: tuple[str, ...]


@dataclass(frozen=True)
class _ReceivedSource:
    """The raw rows of a bucket."""

    files: IcebergFiles
    rows: int

    def add(self, session: Session, reads: Sequence[str], bounds: TimeBounds | None = None, name: str = SOURCE) -> SourceRows:
        return SourceRows(session.add(name, self.files), self.rows)


@dataclass(frozen=True)
class _ReceivedStored:
    """The rows that the feature table has of a bucket."""

    files: IcebergFiles

    def read(self, columns: Sequence[str] | None = None, time: TimeRange | None = None) -> IcebergFiles:
        return self.files


@dataclass(frozen=True, repr=False)
class SpanWork:
    """Compute a span of a run in buckets.

    `table` reads the feature table, and its handle has the column of tombstones, which the table gets when there are some. `raw` has the
    types of the source's columns. `affected` are files with the affected keys of the span, of the types `affected_types`. Only
    the buckets `wanted` are computed.
    """

    applied: Applied
    view: FeatureView
    events: Events
    span: Span
    run: int
    source: PartReader
    raw: Mapping[str, str]
    table: ShippedScan
    affected: tuple[bytes, ...]
    affected_types: Mapping[str, str]
    buckets: int
    wanted: frozenset[int]
    max_rows: int
    limits: WorkerLimits

    @property
    def stored(self) -> dict[str, str]:
        """The types of the rows that the feature table has."""
        return {**dict(self.applied.columns), DELETED: "BOOLEAN"}

    def spread(self, part: RunPart) -> Iterator[Piece]:
        """Yield the rows of files that the span reads, by bucket."""
        kind, files = part
        folders = self.source.folders() if kind == SOURCE_ROWS else self.table.folders()
        with worker_session(self.limits, folders) as session:
            self._add_affected(session)
            if kind == SOURCE_ROWS:
                query, types = self._source_rows(session, files), dict(self.raw)
                bucket = self._bucket(self.events.raw_keys, self.events.time)
            else:
                assert isinstance(files, ScanPart)
                query, types = self._stored_rows(session, files), self.stored
                bucket = self._bucket(self._keys, buckets.FEATURE_TIME)
            rows = buckets.with_bucket(query, list(types), bucket)
            if len(self.wanted) < self.buckets:
                rows = buckets.of_buckets(rows, self.wanted)
            yield from divide(session, rows, types, kind)

    def compute(self, bucket: int, pieces: Iterable[Piece]) -> BucketResult:
        """Compute a bucket, and write the rows that the feature table lacks. Raises: TypeMismatch, RequestError, OutOfResources.

        What does not fit in memory, since some key has many rows, is computed in halves of the time.
        """
        table = self.table.table.open()
        counts, paths, left = ChunkCounts(), list[str](), [self.span]
        with worker_session(self.limits, self.table.folders()) as session, ExitStack() as stack:
            received = ReceivedPieces(session)
            for piece in pieces:
                received.add(piece)
            raw = received.rows(SOURCE_ROWS, columns_of(self.raw))
            source = _ReceivedSource(raw, count(session, session.add(SOURCE, raw)))
            stored = _ReceivedStored(received.rows(STORED_ROWS, columns_of(self.stored)))
            task = Task(session, self.applied, self.view, self.events, table, source, self.run, stored, self.max_rows)
            while left:
                span, files = left.pop(), writes.new_data_files(table)
                stack.enter_context(files.discard_on(BaseException))
                session.clear()
                self._add_affected(session)
                rows = count_rows(task, None)
                try:
                    counts += _compute_span(task, span, rows, files)
                except OutOfResources as error:
                    halves = [] if "resource" in error.details else halve(self.view, span, [day for day, _ in rows.days])
                    if not halves:
                        raise
                    files.discard()
                    left += reversed(halves)
                else:
                    paths += files.paths
        return BucketResult(counts, tuple(paths))

    @property
    def _keys(self) -> list[str]:
        return list(self.view.entity.keys)

    def _add_affected(self, session: Session) -> None:
        if self.span.affected is None:
            return
        received = ReceivedPieces(session)
        for data in self.affected:
            received.add(Piece(0, "affected", data))
        session.add(self.span.affected.relation.name, received.rows("affected", columns_of(self.affected_types)))

    def _source_rows(self, session: Session, files: Part) -> Query:
        relation = session.add(SOURCE, self.source.read(files))
        query = buckets.raw_event_rows(self.events, relation, self.span.bounds, list(self.raw))
        return query if self.span.affected is None else self.span.affected.source_rows(self.events, query)

    def _stored_rows(self, session: Session, files: ScanPart) -> Query:
        rows = self.table.read(files)
        relation, deletions = session.add("__fs_table", rows), DELETED in scans.names_of(rows)
        query = stored_rows(relation, list(self.applied.columns), self.span.lower, self.span.upper, deletions=deletions)
        return query if self.span.affected is None else self.span.affected.feature_rows(self._keys, query)

    def _bucket(self, columns: Sequence[str], time: str) -> str:
        """SQL of a row's bucket, from the columns with its keys: by its keys, in a row view also by its time, in case of few keys."""
        keys = [buckets.cast_key(column, self.applied.columns[key]) for column, key in zip(columns, self._keys, strict=True)]
        return buckets.bucket_of([*keys, time] if self.view.every is None else keys, self.buckets)


def _compute_span(task: Task, span: Span, rows: SourceCounts, files: DataFiles) -> ChunkCounts:
    opened, counts = open_span(task, span, rows), ChunkCounts()
    for chunk in opened.chunks:
        counts += compute_chunk(task, opened, chunk, files, lambda: None)
    return counts
