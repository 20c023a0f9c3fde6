"""Old snapshots expire unless something pins them, and files that no kept snapshot reaches are swept."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.fs as pafs
from pyiceberg.manifest import ManifestFile
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import AssertTableUUID, RemoveSnapshotsUpdate

from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import folders, tables
from featurestore.lakehouse.commits import ATTEMPTS, begin, commit, reloaded
from featurestore.lakehouse.fence import commit_fenced, is_fence
from featurestore.lakehouse.local_io import parse_location
from featurestore.lakehouse.requirements import Staged, as_loaded
from featurestore.secrets import logger_of

logger = logger_of(__name__)

Wanted = Callable[[Mapping[str, str]], Collection[str]]
"""The files that a table with these properties will want though no snapshot has them yet, by their locations."""

_SWEPT = (".parquet", ".orc", ".avro", ".metadata.json", ".metadata.json.gz", ".stats", ".puffin")


@dataclass(frozen=True)
class Expired:
    """The snapshots that went, or would go."""

    snapshot_ids: tuple[int, ...]

    @property
    def snapshots(self) -> int:
        """How many they are."""
        return len(self.snapshot_ids)


@dataclass(frozen=True)
class Swept:
    """How many files went, or would go, and their bytes."""

    files: int
    bytes: int


def nothing(properties: Mapping[str, str]) -> Collection[str]:
    """Wanted by a table that has all its files in its snapshots."""
    return ()


def expire(
    table: Table, older_than: datetime, dry_run: bool = False, *, reader: int | None = None, untagged: Collection[str] = ()
) -> Expired:
    """Forget snapshots that ceased to be the current one before `older_than` (naive: UTC), but the heads of tags and branches.

    What an incremental reader that stands at the snapshot `reader` still needs is kept as well: it, and all after it. Files stay
    until `sweep`. `untagged`: as if these tags were gone, for dry runs. The handle then shows the new state.
    Raises: CommitConflict if other writers never pause.
    """
    limit = _milliseconds(older_than)
    found: list[int] = []

    def stage(fresh: Table) -> Transaction | None:
        old = _expirable(fresh, limit, reader, untagged)
        # What an earlier try has taken away, whose answer was lost, is counted too.
        found[:] = [*(snapshot_id for snapshot_id in found if fresh.snapshot_by_id(snapshot_id) is None), *old]
        if dry_run or not old:
            return None
        transaction = begin(fresh)
        # Removing a snapshot also removes a tag that was set on it a moment ago: then this must not land.
        requirements = (AssertTableUUID(uuid=fresh.metadata.table_uuid), *as_loaded(fresh, unreferenced=old))
        removal = RemoveSnapshotsUpdate(snapshot_ids=list(old))  # type: ignore[call-arg]
        Staged(transaction, (removal,), requirements).commit()
        return transaction

    commit_fenced(table, stage, undone="nothing has expired")
    return Expired(tuple(found))


def bound_metadata(table: Table) -> None:
    """Give a table what ours say about metadata files, where it says nothing itself, so that their number is bounded.

    Raises: CommitConflict if other writers never pause.
    """

    def stage(fresh: Table) -> Transaction | None:
        return tables.properties_changed(fresh, {name: value for name, value in tables.FEW_FILES.items() if name not in fresh.properties})

    fresh = reloaded(table)
    commit(fresh, stage, undone="its properties are as they were")
    table.metadata, table.metadata_location = fresh.metadata, fresh.metadata_location


def last_changed(table: Table, locations: Collection[str]) -> datetime | None:
    """When the newest of these files was written; None where none of them is there."""
    filesystem, _ = folders.filesystem(table.io, table.location())
    found = filesystem.get_file_info([_path(table, location) for location in locations])
    return max((info.mtime for info in found if info.type == pafs.FileType.File), default=None)


def sweep(table: Table, older_than: datetime, dry_run: bool = False, *, without: Collection[int] = (), wanted: Wanted = nothing) -> Swept:
    """Delete the files in the table's folder, last changed before `older_than` (naive: UTC), that no snapshot it has reaches.

    `older_than` must lie further back than the longest read or write takes: a file is written before a snapshot reaches it, and the files
    of a snapshot that was the current one since then stay, though it has expired; so do those that are `wanted`. `without`: as if these
    snapshots had expired, for dry runs.
    Raises: Conflict where another table lives in the same folder; CommitConflict where files go while they are looked at.
    """
    limit = _utc(older_than)
    # What is there is listed before what is reachable: a file that a commit takes over in between is then seen as reachable.
    listed = list(_listed(table))
    fresh, reachable = _reached(table, without, _milliseconds(older_than))
    reachable |= {_path(fresh, location) for location in wanted(fresh.properties)}
    garbage = [info for info in listed if info.path not in reachable and info.mtime is not None and info.mtime < limit]
    _refuse_shared_folder(fresh, garbage)
    if not dry_run:
        _delete(table, [info.path for info in garbage])
    return Swept(len(garbage), sum(info.size for info in garbage))


def _delete(table: Table, paths: Iterable[str]) -> None:
    filesystem, home = folders.filesystem(table.io, table.location())
    for path in paths:
        # Commits delete old metadata files as well.
        with suppress(FileNotFoundError):
            filesystem.delete_file(path)
        if isinstance(filesystem, pafs.LocalFileSystem):
            above = (folder for folder in Path(path).parents if Path(home) in folder.parent.parents)
            # A folder that is not empty, or that another upkeep has removed, ends it.
            with suppress(OSError):
                for folder in above:
                    folder.rmdir()


def _expirable(table: Table, limit: int, reader: int | None, untagged: Collection[str]) -> tuple[int, ...]:
    held = [ref.snapshot_id for name, ref in table.refs().items() if name not in untagged and not is_fence(name)]
    kept = {table.metadata.current_snapshot_id, *held}
    ids = [snapshot.snapshot_id for snapshot in ancestors_of(table.current_snapshot(), table.metadata)]
    if reader in ids:
        kept |= set(ids[: ids.index(reader) + 1])
    # Whoever began to read a snapshot did so while it was the current one: its age counts from when it ceased to be.
    return tuple(snapshot_id for snapshot_id, when in _ceased(table.metadata).items() if when < limit and snapshot_id not in kept)


def _milliseconds(when: datetime) -> int:
    return int(_utc(when).timestamp() * 1000)


def _utc(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _path(table: Table, location: str) -> str:
    return parse_location(location, table.io.properties)[2]


def _listed(table: Table) -> Iterator[pafs.FileInfo]:
    """Iceberg's files in the table's data and metadata folders; folders set outside of the table's own may be others' too."""
    provider = table.location_provider()
    home = table.location().rstrip("/") + "/"
    for folder in (provider.data_path, provider.metadata_path):
        if not folder.startswith(home):
            logger.info("not swept: %s lies outside of the table's folder", folder)
            continue
        filesystem, path = folders.filesystem(table.io, folder)
        found = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
        yield from (info for info in found if info.type == pafs.FileType.File and info.path.endswith(_SWEPT))


def _reached(table: Table, without: Collection[int], since: int) -> tuple[Table, set[str]]:
    """The table as it is now, and the paths of all files that it reaches, or that who reads it may still be reading."""
    gone: FileNotFoundError | None = None
    for _ in range(ATTEMPTS):
        fresh = reloaded(table)
        if gone is not None and fresh.metadata_location == table.metadata_location:
            name = ".".join(table.name())
            raise CommitConflict(f"{name} lacks a file of its metadata, or is being swept by another process: {gone}") from gone
        lately = _ceased_since(fresh.metadata, since)
        held = [snapshot for snapshot in fresh.snapshots() if snapshot.snapshot_id not in without or snapshot.snapshot_id in lately]
        try:
            return fresh, _reachable(fresh, held) | _lingering(fresh, since)
        except FileNotFoundError as error:
            # Snapshots that expired a moment ago may be swept already: a table that moved on meanwhile is looked at again.
            gone, table = error, fresh
    raise CommitConflict(f"{'.'.join(table.name())} is being changed without pause; nothing was swept")


def _lingering(table: Table, since: int) -> set[str]:
    """The files of expired snapshots that were the current one since then, by the metadata files that still show them."""
    held = {snapshot.snapshot_id for snapshot in table.snapshots()}
    found: dict[int, Snapshot] = {}
    for entry in table.metadata.metadata_log:
        if entry.timestamp_ms < since:
            continue
        try:
            earlier = FromInputFile.table_metadata(table.io.new_input(entry.metadata_file))
        except FileNotFoundError:
            # A commit since then has removed the oldest one.
            continue
        lately = _ceased_since(earlier, since) - held
        found |= {snapshot.snapshot_id: snapshot for snapshot in earlier.snapshots if snapshot.snapshot_id in lately}
    return _reachable(table, list(found.values()))


def _ceased(metadata: TableMetadata) -> dict[int, int]:
    """When each snapshot ceased to be the current one, in milliseconds; when it was made if it never was."""
    main = ancestors_of(metadata.current_snapshot(), metadata)
    following = {snapshot.parent_snapshot_id: snapshot.timestamp_ms for snapshot in main}
    return {snapshot.snapshot_id: following.get(snapshot.snapshot_id, snapshot.timestamp_ms) for snapshot in metadata.snapshots}


def _ceased_since(metadata: TableMetadata, since: int) -> set[int]:
    return {snapshot_id for snapshot_id, when in _ceased(metadata).items() if when >= since}


def _reachable(table: Table, snapshots: Iterable[Snapshot]) -> set[str]:
    metadata = table.metadata
    locations = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    locations |= {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in snapshots:
        locations.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for path, manifest in manifests.items():
        locations.add(path)
        locations |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)}
    return {_path(table, location) for location in locations}


def _refuse_shared_folder(table: Table, garbage: list[pafs.FileInfo]) -> None:
    """A table made under the old name of a renamed one has its folder too: what one does not reach may be the other's."""
    filesystem, own = folders.filesystem(table.io, table.location())
    uuid, catalog = str(table.metadata.table_uuid), table.catalog
    if not any(folders.is_foreign(filesystem, info.path, uuid) for info in garbage if ".metadata.json" in info.path):
        return
    for namespace in catalog.list_namespaces():
        for identifier in catalog.list_tables(namespace):
            other = catalog.load_table(identifier)
            if other.metadata.table_uuid != table.metadata.table_uuid and _path(other, other.location()) == own:
                raise Conflict(f"{'.'.join(identifier)} and {'.'.join(table.name())} share the folder {table.location()}: not swept")
