"""A scan of a snapshot that is planned once, and read in parts: planning reads manifests, which takes longer than reading a few rows."""

from collections.abc import Sequence
from functools import cached_property

import pyarrow as pa
from pyiceberg.table import FileScanTask

from featurestore.compiler.relations import IcebergFiles
from featurestore.lakehouse import scans
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.scan_plan import TimeRange, plan_scan, projected_schema, within
from featurestore.lakehouse.shipped import ScanPart, ShippedScan, scan_parts, ship_table


class PlannedScan:
    """The data files of a snapshot (None: no files) with rows in a time range (None: all of them); planned at the first read."""

    def __init__(self, granted: Granted, snapshot_id: int | None, time: TimeRange | None, schema_id: int | None = None) -> None:
        self._granted, self._snapshot_id, self._time, self._schema_id = granted, snapshot_id, time, schema_id

    def covers(self, time: TimeRange | None) -> bool:
        """Whether the rows of a time range are in the scan."""
        if self._time is None:
            return True
        if time is None or time.column != self._time.column:
            return self._time.lower_us is None and self._time.upper_us is None
        lower = self._time.lower_us is None or (time.lower_us is not None and time.lower_us >= self._time.lower_us)
        return lower and (self._time.upper_us is None or (time.upper_us is not None and time.upper_us <= self._time.upper_us))

    def read(self, columns: Sequence[str] | None = None, time: TimeRange | None = None) -> IcebergFiles | pa.RecordBatchReader:
        """As `scans.scan_snapshot`, of a time range that the scan covers. Raises: as that."""
        granted, snapshot_id, schema_id = self._granted, self._snapshot_id, self._schema_id
        whole = projected_schema(granted.table, snapshot_id, None, schema_id)
        tasks = within(granted, self._tasks, whole, time)
        return scans.relation(granted, projected_schema(granted.table, snapshot_id, columns, schema_id), tasks)

    def ship(self, columns: Sequence[str] | None = None, time: TimeRange | None = None) -> tuple[ShippedScan, list[ScanPart]]:
        """The files of `read` in parts, for workers to read with the first value. Raises: as `read`."""
        granted, snapshot_id, schema_id = self._granted, self._snapshot_id, self._schema_id
        tasks = within(granted, self._tasks, projected_schema(granted.table, snapshot_id, None, schema_id), time)
        shipped = ShippedScan(ship_table(granted.table), granted.permit, projected_schema(granted.table, snapshot_id, columns, schema_id))
        return shipped, scan_parts(tasks)

    @cached_property
    def _tasks(self) -> list[FileScanTask]:
        return [] if self._snapshot_id is None else plan_scan(self._granted, self._snapshot_id, self._time, self._schema_id)
