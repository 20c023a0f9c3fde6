"""Feature tables pinned at snapshots: what is read now, and can be read again as it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Relation
from featurestore.errors import NotFound
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.lakehouse.stored_files import StoredFiles, stored_files
from featurestore.lakehouse.tables import Table
from featurestore.records import feature_table
from featurestore.records.feature_table import State
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.arguments import check_snapshots


@dataclass(frozen=True)
class Pinned:
    """A feature table at the snapshot to read; `snapshot_id` None reads no rows. `state` is what it was made of."""

    table: Table
    snapshot_id: int | None
    state: State

    @property
    def through(self) -> int | None:
        """The watermark in microseconds; None when nothing was ever materialized."""
        return self.state.through

    @property
    def corrected(self) -> bool:
        """Whether there may be several versions of a row."""
        return self.state.corrections > 0 or self.deletions

    @property
    def deletions(self) -> bool:
        """Whether the snapshot has a column DELETED: tables get it with their first tombstone."""
        return self.snapshot_id is not None and DELETED in tables.schema_of(self.table, self.snapshot_id).column_names

    def rows(self, columns: Sequence[str], lower: int | None, upper: int | None) -> Relation:
        """These columns; files wholly outside [lower, upper] are left out."""
        return scans.scan_snapshot(self.table, self.snapshot_id, columns=columns, time=_within(lower, upper))

    def files(self, columns: Sequence[str], lower: int | None, upper: int | None) -> StoredFiles | None:
        """The same as files."""
        return None if self.snapshot_id is None else stored_files(self.table, self.snapshot_id, columns, _within(lower, upper))


def _within(lower: int | None, upper: int | None) -> TimeRange:
    return TimeRange("feature_timestamp", *(None if end is None else times.bound(end) for end in (lower, upper)))


def pin(
    runtime: Runtime,
    plan: ServicePlan,
    snapshots: Mapping[str, int | None] | None = None,
    loaded: Mapping[str, Table] | None = None,
) -> dict[str, Pinned]:
    """The plan's feature tables at these snapshots, or at their current ones; those that are `loaded` already are not loaded again.

    Raises: NotFound for a table of another name, or a snapshot that the table does not have.
    """
    names = list(dict.fromkeys(use.table for use in plan.uses))
    wanted = check_snapshots(snapshots)
    for name in wanted:
        if name not in names:
            raise NotFound("feature table", name, names, f"service {plan.service}")
    pinned: dict[str, Pinned] = {}
    for name in names:
        table = (loaded or {}).get(name) or tables.load(runtime.catalog, runtime.features_table(name))
        snapshot_id = wanted.get(name, tables.current_snapshot_id(table))
        if snapshot_id is not None and snapshot_id not in tables.snapshot_ids(table):
            raise NotFound("snapshot", str(snapshot_id), map(str, tables.snapshot_ids(table)), runtime.features_table(name))
        pinned[name] = Pinned(table, snapshot_id, feature_table.state_at(table, snapshot_id))
    return pinned
