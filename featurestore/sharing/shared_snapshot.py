"""The snapshot of a shared table that a recipient reads, with its columns and its version."""

from dataclasses import dataclass

from featurestore.errors import NotFound
from featurestore.lakehouse import snapshot_log, tables
from featurestore.lakehouse.delta_schema import DeltaColumn, delta_columns
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.sharing.shared_object import SharedObject
from featurestore.sharing.shares import SharedTable

EMPTY_VERSION = 0
"""The version of a table to which nothing was ever written; Iceberg numbers its snapshots from 1."""


@dataclass(frozen=True)
class AsOf:
    """Which version is asked for: a number, or the one at a time in microseconds since the epoch; neither: the newest."""

    version: int | None = None
    timestamp: int | None = None


NEWEST = AsOf()


@dataclass(frozen=True)
class SharedSnapshot:
    """A snapshot of a shared table. `snapshot_id` is None for a table to which nothing was ever written; `version` is its number."""

    entry: SharedTable
    table: Table
    snapshot_id: int | None
    schema_id: int
    version: int

    @property
    def columns(self) -> list[DeltaColumn]:
        """Its columns. Raises: TypeMismatch for one that recipients could not read."""
        return delta_columns(self.table, self.schema_id)


def newest_schema_id(table: Table, on: SharedObject) -> int:
    """The schema in which the newest version of a shared table is read: the current one, so that renamed columns have their new names."""
    pinned = on.pinned_snapshot(table)
    return table.schema_id if pinned is None else tables.schema_id_of(table, pinned)


def open_snapshot(runtime: Runtime, entry: SharedTable, at: AsOf = NEWEST) -> SharedSnapshot:
    """The snapshot of a shared table as of a version or time.

    Raises: NotFound if the table or the version is lost, or has expired; NotYet for tables whose snapshots have no numbers; NotReady.
    """
    table = _load(runtime, entry)
    where = f"{entry.share}.{entry.schema}.{entry.name}"
    pinned = entry.on.pinned_snapshot(table)
    log = snapshot_log.snapshot_log(table) if pinned is None else [snapshot_log.logged_snapshot(table, pinned)]
    if not log:
        if at.version not in (None, EMPTY_VERSION):
            raise NotFound("version", str(at.version), [str(EMPTY_VERSION)], where)
        return SharedSnapshot(entry, table, None, table.schema_id, EMPTY_VERSION)
    if at == NEWEST:
        return SharedSnapshot(entry, table, log[0].id, newest_schema_id(table, entry.on), log[0].number)
    snapshot = (
        snapshot_log.find_number(log, at.version, where)
        if at.version is not None
        else snapshot_log.find_time(log, at.timestamp or 0, where)
    )
    return SharedSnapshot(entry, table, snapshot.id, tables.schema_id_of(table, snapshot.id), snapshot.number)


def version_from(runtime: Runtime, entry: SharedTable, at: int) -> int:
    """The first version of a shared table at or after a time, in microseconds since the epoch. Raises: NotFound; as `open_snapshot`."""
    table = _load(runtime, entry)
    pinned = entry.on.pinned_snapshot(table)
    log = snapshot_log.snapshot_log(table) if pinned is None else [snapshot_log.logged_snapshot(table, pinned)]
    return snapshot_log.find_after(log, at, f"{entry.share}.{entry.schema}.{entry.name}").number


def _load(runtime: Runtime, entry: SharedTable) -> Table:
    """Load the table of an entry. Raises: NotFound by the names that recipients know, if it is lost; NotReady."""
    try:
        return entry.on.load(runtime)
    except NotFound as error:
        raise NotFound("shared table", f"{entry.schema}.{entry.name}", None, f"the share {entry.share}") from error
