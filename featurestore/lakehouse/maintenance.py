"""Old snapshots expire unless something pins them, and files that no kept snapshot reaches are swept."""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow.fs as pafs
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.update import AssertTableUUID, RemoveSnapshotsUpdate

from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse.commits import Staged, as_loaded, begin, execute, reloaded

logger = logging.getLogger(__name__)

_ATTEMPTS = 100
_SWEPT = (".parquet", ".orc", ".avro", ".metadata.json", ".metadata.json.gz", ".stats", ".puffin")


@dataclass(frozen=True)
class Expired:
    """How many snapshots went, or would go."""

    snapshots: int


@dataclass(frozen=True)
class Swept:
    """How many files went, or would go, and their bytes."""

    files: int
    bytes: int


def expire(table: Table, older_than: datetime, dry_run: bool = False) -> Expired:
    """Forget snapshots made before `older_than` (naive: UTC) but the heads of tags and branches, so also the current one.

    Files stay until `sweep`. The handle then shows the new state. Raises: CommitConflict if other writers never pause.
    """
    limit = _utc(older_than).timestamp() * 1000
    for _ in range(_ATTEMPTS):
        fresh = reloaded(table)
        kept = {ref.snapshot_id for ref in fresh.refs().values()} | {fresh.metadata.current_snapshot_id}
        old = [s.snapshot_id for s in fresh.snapshots() if s.timestamp_ms < limit and s.snapshot_id not in kept]
        if dry_run or not old:
            return Expired(len(old))
        transaction = begin(fresh)
        # Removing a snapshot also removes a tag that was set on it a moment ago: then this must not land.
        requirements = (AssertTableUUID(uuid=fresh.metadata.table_uuid), *as_loaded(fresh, unreferenced=old))
        removal = RemoveSnapshotsUpdate(snapshot_ids=old)  # type: ignore[call-arg]
        Staged(transaction, (removal,), requirements).commit()
        try:
            execute(fresh, transaction)
        except CommitConflict:
            continue
        table.metadata, table.metadata_location = fresh.metadata, fresh.metadata_location
        return Expired(len(old))
    raise CommitConflict(f"{'.'.join(table.name())} is being changed without pause; nothing has expired")


def sweep(table: Table, older_than: datetime, dry_run: bool = False) -> Swept:
    """Delete the files in the table's folder, last changed before `older_than` (naive: UTC), that no snapshot it has reaches.

    `older_than` must lie further back than the longest write takes: a file is written before a snapshot reaches it.
    Raises: Conflict where another table lives in the same folder; CommitConflict where files go while they are looked at.
    """
    limit = _utc(older_than)
    # What is there is listed before what is reachable: a file that a commit takes over in between is then seen as reachable.
    listed = list(_listed(table))
    fresh = reloaded(table)
    try:
        reachable = _reachable(fresh)
    except FileNotFoundError as error:
        raise CommitConflict(f"{'.'.join(table.name())} is being swept by another process: {error}") from error
    garbage = [info for info in listed if info.path not in reachable and info.mtime is not None and info.mtime < limit]
    _refuse_shared_folder(fresh, garbage)
    if not dry_run:
        filesystem, _ = _filesystem(table, table.location())
        for info in garbage:
            # Commits delete old metadata files as well.
            with suppress(FileNotFoundError):
                filesystem.delete_file(info.path)
    return Swept(len(garbage), sum(info.size for info in garbage))


def _utc(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _filesystem(table: Table, location: str) -> tuple[pafs.FileSystem, str]:
    io = table.io if isinstance(table.io, PyArrowFileIO) else PyArrowFileIO(table.io.properties)
    scheme, netloc, path = PyArrowFileIO.parse_location(location, io.properties)
    return io.fs_by_scheme(scheme, netloc), path


def _path(table: Table, location: str) -> str:
    return PyArrowFileIO.parse_location(location, table.io.properties)[2]


def _listed(table: Table) -> Iterator[pafs.FileInfo]:
    """Iceberg's files in the table's data and metadata folders; folders set outside of the table's own may be others' too."""
    provider = table.location_provider()
    home = table.location().rstrip("/") + "/"
    for folder in (provider.data_path, provider.metadata_path):
        if not folder.startswith(home):
            logger.info("not swept: %s lies outside of the table's folder", folder)
            continue
        filesystem, path = _filesystem(table, folder)
        found = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
        yield from (info for info in found if info.type == pafs.FileType.File and info.path.endswith(_SWEPT))


def _reachable(table: Table) -> set[str]:
    metadata = table.metadata
    locations = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    locations |= {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in metadata.snapshots:
        locations.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for path, manifest in manifests.items():
        locations.add(path)
        locations |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)}
    return {_path(table, location) for location in locations}


def _refuse_shared_folder(table: Table, garbage: list[pafs.FileInfo]) -> None:
    """A table made under the old name of a renamed one has its folder too: what one does not reach may be the other's."""
    if not any(_is_foreign(table, info.path) for info in garbage if ".metadata.json" in info.path):
        return
    catalog, own = table.catalog, _path(table, table.location())
    for namespace in catalog.list_namespaces():
        for identifier in catalog.list_tables(namespace):
            other = catalog.load_table(identifier)
            if other.metadata.table_uuid != table.metadata.table_uuid and _path(other, other.location()) == own:
                raise Conflict(f"{'.'.join(identifier)} and {'.'.join(table.name())} share the folder {table.location()}: not swept")


def _is_foreign(table: Table, path: str) -> bool:
    filesystem, _ = _filesystem(table, table.location())
    try:
        with filesystem.open_input_stream(path, compression="detect") as stream:
            return bool(json.loads(stream.read()).get("table-uuid") != str(table.metadata.table_uuid))
    except (ValueError, FileNotFoundError):
        # Cut off while it was written, or gone since: nobody's.
        return False
