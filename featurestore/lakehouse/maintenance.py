"""Expire old snapshots that nothing pins, and remove files that no remaining snapshot reaches."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.fs as pafs
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import AssertTableUUID, RemoveSnapshotsUpdate, SetPropertiesUpdate
from sqlalchemy import select
from sqlalchemy.orm import Session

from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import folders, tables
from featurestore.lakehouse.catalog_errors import translating_errors
from featurestore.lakehouse.commits import begin, commit, reload, retry
from featurestore.lakehouse.fence import commit_fenced, is_fence
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.local_io import delete_files, parse_location, preload
from featurestore.lakehouse.recent_snapshots import files_of_recent_snapshots
from featurestore.lakehouse.requirements import StagedUpdates, as_loaded
from featurestore.lakehouse.table import Table
from featurestore.lakehouse.writes import OPERATION
from featurestore.masking import logger_of

logger = logger_of(__name__)

PendingFiles = Callable[[Mapping[str, str]], Collection[str]]
"""Returns, from a table's properties, the locations of files that no snapshot has yet, but a later commit will add."""

ExpiryNote = Callable[[Mapping[str, str], int], Mapping[str, str]]
"""Returns, from a table's properties and the number of snapshots that expire, the properties to set."""

_REMOVABLE = (".parquet", ".orc", ".avro", ".metadata.json", ".metadata.json.gz", ".stats", ".puffin")


@dataclass(frozen=True)
class ExpiredSnapshots:
    """The snapshots that were expired, or would be in a dry run."""

    snapshot_ids: tuple[int, ...]

    @property
    def snapshots(self) -> int:
        """The number of snapshots."""
        return len(self.snapshot_ids)


@dataclass(frozen=True)
class RemovedFiles:
    """The number of files removed, or that a dry run would remove, and their total size in bytes."""

    files: int
    bytes: int


def no_files(properties: Mapping[str, str]) -> Collection[str]:
    """The pending files of a table that has all its files in its snapshots: none."""
    return ()


def no_note(properties: Mapping[str, str], snapshots: int) -> Mapping[str, str]:
    """The properties of an expiry that is not recorded: none."""
    return {}


def expire_snapshots(
    table: Table,
    older_than: datetime,
    dry_run: bool = False,
    *,
    reader: int | None = None,
    untagged: Collection[str] = (),
    note: ExpiryNote = no_note,
    action: str | None = None,
) -> ExpiredSnapshots:
    """Remove snapshots that were superseded before `older_than` (naive: UTC), except the heads of tags and branches.

    The snapshot `reader`, where an incremental reader stands, and all after it are kept as well. Files stay until
    `remove_orphan_files`. `untagged`: tags to ignore, for dry runs. The commit also sets the properties that `note` returns. With `action`,
    only snapshots whose summary has it are removed. The handle then shows the new state.
    Raises: CommitConflict after too many conflicts.
    """
    limit = _milliseconds(older_than)
    expired: list[int] = []

    def stage(fresh: Table) -> Transaction | None:
        old = tuple(id for id in _expirable(fresh, limit, reader, untagged) if action is None or _action(fresh, id) == action)
        # Snapshots that an earlier attempt removed, whose response was lost, are counted too.
        expired[:] = [*(snapshot_id for snapshot_id in expired if fresh.iceberg.snapshot_by_id(snapshot_id) is None), *old]
        if dry_run or not old:
            return None
        transaction = begin(fresh)
        # Removing a snapshot also removes its tags: the commit must fail if one was set meanwhile.
        requirements = (AssertTableUUID(uuid=fresh.iceberg.metadata.table_uuid), *as_loaded(fresh, unreferenced=old))
        removal = RemoveSnapshotsUpdate(snapshot_ids=list(old))  # type: ignore[call-arg]
        notes = note(fresh.properties, len(old))
        updates = (removal, SetPropertiesUpdate(updates=dict(notes))) if notes else (removal,)
        StagedUpdates(transaction, updates, requirements).commit()
        return transaction

    commit_fenced(table, stage, undone="no snapshot was expired")
    return ExpiredSnapshots(tuple(expired))


def files_of_snapshot(table: Table, snapshot_id: int) -> RemovedFiles:
    """The data and metadata files that only this snapshot reaches. Raises: NotFound."""
    return _sizes(table, _files_of_snapshot(table, tables.snapshot(table, snapshot_id)))


def remove_snapshot(table: Table, snapshot_id: int) -> RemovedFiles:
    """Remove a snapshot that is neither current nor tagged, and delete the files that no other snapshot reaches, at once: reads of it
    that are in progress fail. A snapshot that is gone is none. Raises: Conflict if something refers to it; CommitConflict.
    """
    removed = table.iceberg.snapshot_by_id(snapshot_id)
    if removed is None:
        return RemovedFiles(0, 0)

    def stage(fresh: Table) -> Transaction | None:
        if fresh.iceberg.snapshot_by_id(snapshot_id) is None:
            return None
        referring = [name for name, ref in fresh.iceberg.refs().items() if ref.snapshot_id == snapshot_id and not is_fence(name)]
        if referring or fresh.snapshot_id == snapshot_id:
            raise Conflict(f"snapshot {snapshot_id} of {table.name} is used as {', '.join(referring) or 'current'}", table=table.name)
        transaction = begin(fresh)
        requirements = (AssertTableUUID(uuid=fresh.iceberg.metadata.table_uuid), *as_loaded(fresh, unreferenced=[snapshot_id]))
        StagedUpdates(transaction, (RemoveSnapshotsUpdate(snapshot_ids=[snapshot_id]),), requirements).commit()  # type: ignore[call-arg]
        return transaction

    files = _files_of_snapshot(table, removed)
    commit_fenced(table, stage, undone="its snapshot was not removed")
    contents = _sizes(table, files)
    _delete(table, files)
    return contents


def _files_of_snapshot(table: Table, snapshot: Snapshot) -> set[str]:
    others = [other for other in table.iceberg.snapshots() if other.snapshot_id != snapshot.snapshot_id]
    return _reachable(table, [snapshot]) - _reachable(table, others)


def _sizes(table: Table, paths: Iterable[str]) -> RemovedFiles:
    filesystem, _ = folders.filesystem(table.iceberg.io, table.iceberg.location())
    infos = [info for info in filesystem.get_file_info(sorted(paths)) if info.type == pafs.FileType.File]
    return RemovedFiles(len(infos), sum(info.size for info in infos))


def retained_snapshots(table: Table) -> dict[int, datetime]:
    """When each snapshot that is left was committed (UTC), oldest first."""
    return {
        snapshot.snapshot_id: datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
        for snapshot in sorted(table.iceberg.snapshots(), key=lambda snapshot: (snapshot.sequence_number or 0, snapshot.timestamp_ms))
    }


def bound_metadata(table: Table) -> None:
    """Set the properties that bound the number of metadata files, unless the table sets them itself.

    Raises: CommitConflict after too many conflicts.
    """

    def stage(fresh: Table) -> Transaction | None:
        return tables.properties_transaction(
            fresh, {name: value for name, value in tables.METADATA_PROPERTIES.items() if name not in fresh.properties}
        )

    fresh = reload(table)
    commit(fresh, stage, undone="its properties were not changed")
    table.show(fresh)


def unreached_files(granted: Granted) -> tuple[pafs.FileSystem, list[str]]:
    """The files in the table's folder that no snapshot reaches, however old; some may be of writes in progress. And their filesystem."""
    table = granted.table
    listed = [info.path for info in _list_files(table)]
    fresh, reachable = _reload_reachable(table, (), _milliseconds(datetime.now(UTC)))
    filesystem, _ = folders.filesystem(fresh.iceberg.io, fresh.iceberg.location())
    return filesystem, [path for path in listed if path not in reachable]


def last_changed(table: Table, locations: Collection[str]) -> datetime | None:
    """When the newest of these files was written; None if none exists."""
    filesystem, _ = folders.filesystem(table.iceberg.io, table.iceberg.location())
    infos = filesystem.get_file_info([_path(table, location) for location in locations])
    return max((info.mtime for info in infos if info.type == pafs.FileType.File), default=None)


def remove_orphan_files(
    table: Table, older_than: datetime, dry_run: bool = False, *, without: Collection[int] = (), pending_files: PendingFiles = no_files
) -> RemovedFiles:
    """Delete files in the table's folder that no snapshot reaches and that were last changed before `older_than` (naive: UTC).

    `older_than` must be longer ago than the longest read or write takes, because a file is written before a snapshot reaches it. Files
    of expired snapshots that were current after `older_than` are kept, and `pending_files`. A dry run ignores the snapshots `without`.
    Raises: Conflict if another table shares the folder; CommitConflict if metadata files disappear meanwhile.
    """
    limit = _utc(older_than)
    # List files before computing what is reachable: a file that is committed in between then counts as reachable.
    listed = list(_list_files(table))
    fresh, reachable = _reload_reachable(table, without, _milliseconds(older_than))
    reachable |= {_path(table, location) for location in files_of_recent_snapshots(fresh, listed, limit)}
    reachable |= {_path(fresh, location) for location in pending_files(fresh.properties)}
    orphans = [info for info in listed if info.path not in reachable and info.mtime is not None and info.mtime < limit]
    _refuse_shared_folder(fresh, orphans)
    if not dry_run:
        _delete(table, [info.path for info in orphans])
    return RemovedFiles(len(orphans), sum(info.size for info in orphans))


def _delete(table: Table, paths: Iterable[str]) -> None:
    filesystem, home = folders.filesystem(table.iceberg.io, table.iceberg.location())
    scheme = table.location.partition("://")[0]
    if scheme in ("s3", "s3a", "s3n"):
        delete_files(table.iceberg.io, [f"{scheme}://{path}" for path in paths])
        return
    for path in paths:
        # Commits delete old metadata files as well.
        with suppress(FileNotFoundError):
            filesystem.delete_file(path)
        if isinstance(filesystem, pafs.LocalFileSystem):
            above = (folder for folder in Path(path).parents if Path(home) in folder.parent.parents)
            # Stop at a folder that is not empty, or that another process has removed.
            with suppress(OSError):
                for folder in above:
                    folder.rmdir()


def _expirable(table: Table, limit: int, reader: int | None, untagged: Collection[str]) -> tuple[int, ...]:
    referenced = [ref.snapshot_id for name, ref in table.iceberg.refs().items() if name not in untagged and not is_fence(name)]
    kept = {table.iceberg.metadata.current_snapshot_id, *referenced}
    ids = [snapshot.snapshot_id for snapshot in ancestors_of(table.iceberg.current_snapshot(), table.iceberg.metadata)]
    if reader in ids:
        kept |= set(ids[: ids.index(reader) + 1])
    # Readers start on a snapshot while it is current, so its age counts from when it was superseded.
    superseded = _superseded_at(table.iceberg.metadata)
    return tuple(snapshot_id for snapshot_id, when in superseded.items() if when < limit and snapshot_id not in kept)


def _action(table: Table, snapshot_id: int) -> str | None:
    """What the writer of a snapshot says that it did; None if it says nothing."""
    return tables.summary(table, snapshot_id).get(OPERATION)


def _milliseconds(when: datetime) -> int:
    return int(_utc(when).timestamp() * 1000)


def _utc(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _path(table: Table, location: str) -> str:
    return parse_location(location, table.iceberg.io.properties)[2]


def _list_files(table: Table) -> Iterator[pafs.FileInfo]:
    """Iceberg's files in the table's data and metadata folders; folders outside of the table's are skipped, since others may use them."""
    provider = table.iceberg.location_provider()
    home = table.iceberg.location().rstrip("/") + "/"
    for folder in (provider.data_path, provider.metadata_path):
        if not folder.startswith(home):
            logger.info("orphan files are not removed from %s: it is outside of the table's folder", folder)
            continue
        filesystem, path = folders.filesystem(table.iceberg.io, folder)
        infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
        yield from (info for info in infos if info.type == pafs.FileType.File and info.path.endswith(_REMOVABLE))


def _reload_reachable(table: Table, without: Collection[int], since: int) -> tuple[Table, set[str]]:
    """The reloaded table, and the paths of all files that it reaches or that current readers may still need."""
    fresh = reload(table)

    def attempt() -> tuple[Table, set[str]]:
        recent = _superseded_since(fresh.iceberg.metadata, since)
        kept = [snapshot for snapshot in fresh.iceberg.snapshots() if snapshot.snapshot_id not in without or snapshot.snapshot_id in recent]
        try:
            return fresh, _reachable(fresh, kept)
        except FileNotFoundError as missing:
            raise CommitConflict(f"{name} lacks a metadata file, or another process is removing its files: {missing}") from missing

    def recover(conflict: CommitConflict) -> None:
        # Files of snapshots that have just expired may be gone already: try again if the table has changed meanwhile.
        nonlocal fresh
        seen, fresh = fresh.metadata_location, reload(fresh)
        if fresh.metadata_location == seen:
            raise conflict

    name = table.name
    return retry(name, attempt, undone="no file was removed", recover=recover)


def _superseded_at(metadata: TableMetadata) -> dict[int, int]:
    """When each snapshot was superseded, in milliseconds since the epoch; when it was created if it never was current."""
    main = ancestors_of(metadata.current_snapshot(), metadata)
    following = {snapshot.parent_snapshot_id: snapshot.timestamp_ms for snapshot in main}
    return {snapshot.snapshot_id: following.get(snapshot.snapshot_id, snapshot.timestamp_ms) for snapshot in metadata.snapshots}


def _superseded_since(metadata: TableMetadata, since: int) -> set[int]:
    return {snapshot_id for snapshot_id, when in _superseded_at(metadata).items() if when >= since}


def _reachable(table: Table, snapshots: Iterable[Snapshot]) -> set[str]:
    metadata = table.iceberg.metadata
    locations = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    locations |= {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    manifests: dict[str, ManifestFile] = {}
    known = list(snapshots)
    preload(table.iceberg.io, [snapshot.manifest_list for snapshot in known])
    for snapshot in known:
        locations.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.iceberg.io)}
    preload(table.iceberg.io, manifests)
    for path, manifest in manifests.items():
        locations.add(path)
        locations |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.iceberg.io, discard_deleted=True)}
    return {_path(table, location) for location in locations}


def _refuse_shared_folder(table: Table, orphans: list[pafs.FileInfo]) -> None:
    """Raise Conflict if another table shares the folder, as after a rename and a new table of the old name, or if a catalog of another
    name in the same database has the warehouse too.
    """
    filesystem, folder = folders.filesystem(table.iceberg.io, table.iceberg.location())
    uuid, catalog = table.uuid, table.iceberg.catalog
    if not any(folders.is_foreign(filesystem, info.path, uuid) for info in orphans if ".metadata.json" in info.path):
        return
    shared = f"share the folder {table.iceberg.location()}: no file was removed"
    for other, address in _tables_of_other_catalogs(catalog):
        if _path(table, address).startswith(f"{folder.rstrip('/')}/"):
            raise Conflict(f"{other} and {table.name} {shared}; give each catalog a warehouse of its own")
    for namespace in catalog.list_namespaces():
        for identifier in catalog.list_tables(namespace):
            other_table = Table(catalog.load_table(identifier))
            if other_table.uuid != table.uuid and _path(other_table, other_table.iceberg.location()) == folder:
                raise Conflict(f"{'.'.join(identifier)} and {table.name} {shared}")


def _tables_of_other_catalogs(catalog: Catalog) -> list[tuple[str, str]]:
    """The tables that other catalogs have in the same database, each as `catalog.namespace.name`, with the addresses of their metadata."""
    if not isinstance(catalog, SqlCatalog):
        return []
    columns = (IcebergTables.catalog_name, IcebergTables.table_namespace, IcebergTables.table_name, IcebergTables.metadata_location)
    with translating_errors("listing the tables of other catalogs"), Session(catalog.engine) as session:
        rows = session.execute(select(*columns).where(IcebergTables.catalog_name != catalog.name)).all()
    return [(f"{name}.{namespace}.{table}", address) for name, namespace, table, address in rows if address is not None]
