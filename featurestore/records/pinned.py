"""Feature tables pinned at snapshots, so that they can be read again as they were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.row_policy import OPEN, BoundPolicy, RowPolicy
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Relation
from featurestore.errors import NotFound
from featurestore.lakehouse import column_types, scans, tables
from featurestore.lakehouse.granted import Granted, Permit
from featurestore.lakehouse.planned_scan import PlannedScan
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.lakehouse.shipped import ScanPart, ShippedScan
from featurestore.lakehouse.stored_files import StoredFiles, stored_files
from featurestore.lakehouse.table import Table
from featurestore.records import feature_table, named_versions
from featurestore.records.feature_table import State
from featurestore.records.runtime import Runtime
from featurestore.records.written_tables import is_written
from featurestore.values import times
from featurestore.values.arguments import Snapshots, check_snapshots


@dataclass(frozen=True)
class Pinned:
    """A feature table at a snapshot, with its state there; `snapshot_id` None means no rows.

    `rules` are in force on its rows for whom they are read for. What a join makes of `rows` and `files`, which are raw, follows them.
    """

    granted: Granted
    snapshot_id: int | None
    state: State
    rules: RowPolicy = OPEN

    @property
    def table(self) -> Table:
        """The table."""
        return self.granted.table

    @property
    def through(self) -> int | None:
        """The watermark in microseconds; None if nothing is materialized. A written table has all rows after its first write."""
        return times.LAST if self.state.through is not None and is_written(self.table) else self.state.through

    @property
    def corrected(self) -> bool:
        """Whether rows may have several versions."""
        return self.state.corrections > 0 or self.deletions

    @property
    def deletions(self) -> bool:
        """Whether the snapshot has the column DELETED, which a table gets with its first tombstone."""
        return self.snapshot_id is not None and tables.has_column(self.table, self.snapshot_id, DELETED)

    @property
    def policy(self) -> BoundPolicy | None:
        """The rules for the columns at the snapshot; None if nothing is hidden."""
        if self.rules.is_open:
            return None
        schema = tables.arrow_schema(self.table, self.snapshot_id)
        read = [field for field in schema if field.name not in (DELETED, "created_timestamp")]
        return self.rules.bind(column_types.sql_types_of_columns(pa.schema(read)))

    def rows(self, columns: Sequence[str], lower: int | None, upper: int | None) -> Relation:
        """These columns of the rows, without files that are entirely outside of [lower, upper]."""
        return scans.scan_snapshot(self.granted, self.snapshot_id, columns=columns, time=_within(lower, upper))

    def ship(self, columns: Sequence[str], lower: int | None, upper: int | None) -> tuple[ShippedScan, list[ScanPart]]:
        """The rows of `rows` in parts, for workers to read."""
        return PlannedScan(self.granted, self.snapshot_id, _within(lower, upper)).ship(columns, _within(lower, upper))

    def files(self, columns: Sequence[str], lower: int | None, upper: int | None) -> StoredFiles | None:
        """The files of `rows`; None if there are no rows."""
        return None if self.snapshot_id is None else stored_files(self.granted, self.snapshot_id, columns, _within(lower, upper))


def _within(lower: int | None, upper: int | None) -> TimeRange:
    return TimeRange("feature_timestamp", *(None if end is None else times.bound(end) for end in (lower, upper)))


def feature_tables(runtime: Runtime, plan: ServicePlan) -> list[str]:
    """The names in the catalog of the feature tables that a service selects from."""
    return [runtime.features_table(name) for name in dict.fromkeys(use.table for use in plan.uses)]


def pin(
    runtime: Runtime,
    plan: ServicePlan,
    snapshots: Snapshots | None = None,
    loaded: Mapping[str, Table] | None = None,
    permit: Permit | None = None,
    policies: Mapping[str, RowPolicy] | None = None,
) -> dict[str, Pinned]:
    """The plan's feature tables at these snapshots, by default at their current ones; tables in `loaded` are not loaded again.

    They are read by `permit`, by default one to read the service, which covers the feature tables that it selects from. `policies` are in
    force on their views, by name; default: those of the runtime's reader.

    Raises: Forbidden; NotFound for a table that the plan does not read, a snapshot that the table does not have, and a tag that does not
    exist or does not have the table.
    """
    names = list(dict.fromkeys(use.table for use in plan.uses))
    permit = permit or runtime.reader.permit("SERVICE", plan.service, feature_tables(runtime, plan))
    chosen = check_snapshots(snapshots)
    for name in () if isinstance(chosen, str) else chosen:
        if name not in names:
            raise NotFound("feature table", name, names, f"service {plan.service}")
    found = {name: (loaded or {}).get(name) or tables.load(runtime.catalog, runtime.features_table(name)) for name in names}
    requested = named_versions.snapshot_ids(runtime, found, chosen)
    views = {use.table: use.view for use in plan.uses}
    in_force = {view: runtime.reader.policy_of_view(view) for view in views.values()} if policies is None else policies
    pinned: dict[str, Pinned] = {}
    for name, table in found.items():
        snapshot_id = requested.get(name, table.snapshot_id)
        if snapshot_id is not None and snapshot_id not in table.snapshot_ids:
            raise NotFound("snapshot", str(snapshot_id), map(str, table.snapshot_ids), runtime.features_table(name))
        state = feature_table.state_at(table, snapshot_id)
        pinned[name] = Pinned(runtime.reader.grant(table, permit), snapshot_id, state, in_force.get(views[name], OPEN))
    return pinned
