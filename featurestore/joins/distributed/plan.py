"""The driver's side of a join on workers: it sends the keys and times of the spine, and puts the features back in the spine's order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.service_plan import ServicePlan
from featurestore.distribution.buckets import count_buckets
from featurestore.distribution.work import Distributor
from featurestore.distribution.worker_session import WorkerLimits
from featurestore.engine.session import Session
from featurestore.engine.watch import current
from featurestore.joins.distributed.kernel import JoinPart, JoinWork, ReceivedLog, from_stream, key_column, to_stream
from featurestore.joins.gather.plan import beside_derived, rows_in_room
from featurestore.joins.view_join import Facts, ViewJoin
from featurestore.lakehouse.shipped import ScanPart, ShippedScan
from featurestore.records.pinned import Pinned
from featurestore.records.runtime import Runtime
from featurestore.spines.spine import Spine, SpineRows
from featurestore.values.int64 import row_numbers, to_arrow

PART_ROWS = 1 << 19
"""Rows of the spine that are sent together."""
ROOM_DIVISOR = 2
"""The features of a batch may use the session's memory divided by this."""


@dataclass(frozen=True)
class _LogFiles:
    """A view with the files of its log."""

    view: ViewJoin
    scan: ShippedScan
    parts: Sequence[ScanPart]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def sent(self) -> ViewJoin:
        """The view for workers: of its log they get what the driver knows, and the rows by bucket."""
        log = self.view.log
        return replace(self.view, log=ReceivedLog(log.through, log.corrected, log.deletions, log.policy))


class DistributedJoin:
    """Joins batches of a spine on workers; the logs are divided again for each batch, so a batch is as large as memory allows."""

    def __init__(
        self, session: Session, plan: ServicePlan, logs: Sequence[_LogFiles], distributor: Distributor, limits: WorkerLimits, max_rows: int
    ) -> None:
        self._session, self._plan, self._logs = session, plan, logs
        self._distributor, self._limits, self._max_rows = distributor, limits, max_rows
        self.facts: Facts = {}
        self.rows_at_once = rows_in_room(plan, session.memory // ROOM_DIVISOR)

    def features(self, spine: SpineRows) -> pa.RecordBatchReader:
        """See Joiner. Raises: as `Distributor.run`; Conflict if the join leaks."""
        columns: dict[str, pa.ChunkedArray] = {}
        groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[_LogFiles]] = {}
        for log in self._logs:
            keys = tuple(name for _, name in log.view.use.keys)
            groups.setdefault((keys, log.view.use.key_types), []).append(log)
        for (keys, _), logs in groups.items():
            joined = self._join(spine, keys, logs)
            columns.update(zip(joined.schema.names, joined.columns, strict=True))
        return beside_derived(self._session, self._plan, [columns[name] for name in self._plan.looked_up_names], spine)

    def _join(self, spine: SpineRows, keys: tuple[str, ...], logs: Sequence[_LogFiles]) -> pa.Table:
        """The features of views with the same key columns, in the order of the spine."""
        plan = replace(self._plan, uses=tuple(log.view.use for log in logs), derived=(), request=())
        total = count_buckets(spine.rows + sum(log.rows for log in logs), self._max_rows)
        views, scans = tuple(log.sent for log in logs), tuple(log.scan for log in logs)
        work = JoinWork(plan, views, scans, spine.timestamp, keys, total, self._limits)
        parts: list[JoinPart] = [*_spine_parts(spine, plan, keys)]
        parts += [(number, part) for number, log in enumerate(logs) for part in log.parts]
        tables: list[pa.Table] = []
        for _, bucket in self._distributor.run(work, parts, total, current().check):
            if bucket is not None:
                tables.append(from_stream(bucket.data))
                self._add_facts(bucket.facts, logs)
        joined = pa.concat_tables(tables)
        order = np.argsort(joined.column(ROW).to_numpy())
        return joined.drop_columns([ROW]).take(to_arrow(order))

    def _add_facts(self, facts: Facts, logs: Sequence[_LogFiles]) -> None:
        for log in logs:
            label = log.view.use.label
            self.facts[label] = facts[label].beside(self.facts.get(label)).refuse_leak(log.view)


def plan_on_workers(
    runtime: Runtime,
    distributor: Distributor,
    session: Session,
    plan: ServicePlan,
    spine: Spine,
    pinned: Mapping[str, Pinned],
    views: Sequence[ViewJoin],
) -> DistributedJoin | None:
    """The join of `views` on workers; None if it is small, or DuckDB cannot read a log by field id."""
    settings = runtime.settings
    if not spine.rows or not views:
        return None
    logs = [_LogFiles(view, *pinned[view.use.table].ship(view.columns, view.lower, view.upper)) for view in views]
    readable = all(all(log.scan.sql_types().values()) for log in logs)
    if not readable or spine.rows + sum(log.rows for log in logs) < settings.engine_from_rows:
        return None
    limits = WorkerLimits(settings.memory_bytes(), settings.threads or 1, runtime.engine.version)
    return DistributedJoin(session, plan, logs, distributor, limits, settings.chunk_rows or PART_ROWS * 2)


def _spine_parts(spine: SpineRows, plan: ServicePlan, keys: Sequence[str]) -> Iterator[bytes]:
    """The numbers, times and keys of the spine's rows, in parts."""
    names = list(dict.fromkeys([spine.timestamp, *plan.times]))
    columns = {ROW: row_numbers(spine.rows)}
    columns |= {name: spine.table.column(spine.table.schema.get_field_index(name)) for name in names}
    columns |= {key_column(index): spine.keys[name] for index, name in enumerate(keys)}
    table = pa.table(columns)
    for start in range(0, spine.rows, PART_ROWS):
        yield to_stream(table.slice(start, PART_ROWS))
