"""A run whose rows are counted and computed by workers. The driver plans the files, records what is done, and commits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.query import all_rows
from featurestore.distribution.buckets import count_buckets
from featurestore.distribution.parquet_pieces import GROUP_ROWS, columns_of
from featurestore.distribution.work import Distributor
from featurestore.distribution.worker_session import WorkerLimits
from featurestore.engine.watch import current
from featurestore.errors import CommitConflict
from featurestore.lakehouse import tables, writes
from featurestore.lakehouse.planned_scan import PlannedScan
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.pipelines.materialization.checkpoint import CHECKPOINT, Checkpoint
from featurestore.pipelines.materialization.compute import SourceCounts, Task, counts_of
from featurestore.pipelines.materialization.interval import Span
from featurestore.pipelines.materialization.kernel import SOURCE_ROWS, STORED_ROWS, BucketResult, CountWork, RunPart, SpanWork
from featurestore.records.runtime import Runtime
from featurestore.sources.pinned_source import PinnedSource
from featurestore.sources.reading import TimeBounds
from featurestore.sources.source_parts import SourceParts, source_parts
from featurestore.values import times

MAX_AFFECTED_BYTES = 256 << 20
"""The affected keys of a span go to every worker; a span with more is computed by the driver."""

Report = Callable[[int, int, int], None]
"""Called with the number of finished buckets, of all buckets, and of rows so far."""


@dataclass(frozen=True)
class DistributedRun:
    """The workers' side of a run: `task` is the run, `source` its pinned source, and `raw` has the types of the columns that it reads."""

    runtime: Runtime
    distributor: Distributor
    task: Task
    source: PinnedSource
    stored: PlannedScan
    raw: Mapping[str, str]

    def count_rows(self, bounds: TimeBounds | None) -> SourceCounts | None:
        """As `compute.count_rows`; None if the driver is to count them, since they are few, or only it can read them."""
        found = self._parts(bounds or TimeBounds(times.FIRST, times.LAST))
        if found is None:
            return None
        work = CountWork(found.reader, self.task.events, self.task.run, self._limits())
        rows = [row for _, result in self.distributor.run(work, found.parts, 1, current().check) for row in result]
        return counts_of(self.task.view, rows)

    def compute_span(self, span: Span, counts: SourceCounts, checkpoint: Checkpoint, report: Report) -> Checkpoint | None:
        """Compute the buckets of a span that are not in the checkpoint, and record each in the table's checkpoint as it is finished.

        None if the driver is to compute the span, since it is small or only it can read the rows. Raises: as `Distributor.run`;
        CommitConflict if another writer changed the table.
        """
        found = self._parts(TimeBounds(span.read_lower, span.events_upper))
        affected = None if found is None else self._affected(span)
        if found is None or affected is None:
            return None
        total = count_buckets(sum(rows for _, rows in counts.days) or found.rows, self.task.max_rows)
        names = {bucket: f"{span.lower}..{span.upper} on workers {bucket}/{total}" for bucket in range(total)}
        wanted = frozenset(bucket for bucket, name in names.items() if name not in checkpoint.done)
        if not wanted:
            return checkpoint
        work, parts = self._work(span, found, affected, total, wanted)
        report(total - len(wanted), total, checkpoint.rows)
        for bucket, result in self.distributor.run(work, parts, total, current().check):
            checkpoint = self._record(checkpoint, names[bucket], result, work)
            report(sum(name in checkpoint.done for name in names.values()), total, checkpoint.rows)
        return checkpoint

    def _parts(self, bounds: TimeBounds) -> SourceParts | None:
        found = source_parts(self.runtime, self.source, self.task.events.reads, bounds)
        return None if found is None or found.rows < self.runtime.settings.engine_from_rows else found

    def _work(
        self, span: Span, found: SourceParts, affected: "_AffectedFiles", total: int, wanted: frozenset[int]
    ) -> tuple[SpanWork, list[RunPart]]:
        time = TimeRange("feature_timestamp", times.bound(span.lower), times.bound(span.upper))
        table, stored = self.stored.ship(None, time)
        work = SpanWork(
            applied=self.task.applied,
            view=self.task.view,
            events=self.task.events,
            span=span,
            run=self.task.run,
            source=found.reader,
            raw={name: self.raw[name] for name in self.task.events.reads},
            table=replace(table, table=table.table.with_column(DELETED)),
            affected=affected.data,
            affected_types=affected.types,
            buckets=total,
            wanted=wanted,
            max_rows=self.task.max_rows,
            limits=self._limits(),
        )
        return work, [*((SOURCE_ROWS, part) for part in found.parts), *((STORED_ROWS, part) for part in stored)]

    def _limits(self) -> WorkerLimits:
        settings = self.runtime.settings
        return WorkerLimits(settings.memory_bytes(), settings.threads or 1, self.runtime.engine.version)

    def _affected(self, span: Span) -> "_AffectedFiles | None":
        """The files of a span's affected keys; None if they are too large."""
        if span.affected is None:
            return _AffectedFiles((), {})
        session, keys = self.task.session, span.affected.relation
        types = session.schema(keys)
        ids = {column.name: column.id for column in columns_of(types)}
        _, paths = session.write(all_rows(keys), session.folder / f"affected-{span.lower}", ids, GROUP_ROWS)
        if sum(path.stat().st_size for path in paths) > MAX_AFFECTED_BYTES:
            return None
        return _AffectedFiles(tuple(path.read_bytes() for path in paths), types)

    def _record(self, checkpoint: Checkpoint, name: str, result: BucketResult, work: SpanWork) -> Checkpoint:
        table = self.task.table
        if result.counts.deletions:
            tables.add_column(table, DELETED, pa.bool_())
            if writes.field_ids(table)[DELETED] != writes.field_ids(work.table.table.open())[DELETED]:
                raise CommitConflict(f"another writer changed the columns of {table.name}; nothing was written", table=table.name)
        checkpoint = checkpoint.after(name, result.counts, result.files)
        tables.set_properties(table, {CHECKPOINT: checkpoint.to_property()})
        return checkpoint


@dataclass(frozen=True)
class _AffectedFiles:
    data: tuple[bytes, ...]
    types: Mapping[str, str]
