"""Find snapshots with missing files, and roll a table back to its last complete snapshot."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow.fs as pafs
from pyiceberg.table import Transaction
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotRefUpdate, SetSnapshotRefUpdate, TableUpdate

from featurestore.errors import CommitConflict
from featurestore.lakehouse import folders, tables
from featurestore.lakehouse.catalog_errors import translating_errors
from featurestore.lakehouse.commits import begin, commit, stage_properties
from featurestore.lakehouse.local_io import parse_location, preload
from featurestore.lakehouse.requirements import StagedUpdates, add_requirements
from featurestore.lakehouse.table import Table
from featurestore.redaction import without_secrets

LOOKUP_BATCH = 1000
"""How many files are looked up together."""


@dataclass(frozen=True)
class Damage:
    """A table whose current snapshot, or a tagged one, lacks files.

    `missing`: the missing files of the current snapshot; `back_to`: the id of the last complete one (None: there is none);
    `tags`: the tags of incomplete snapshots.
    """

    missing: tuple[str, ...]
    back_to: int | None
    tags: tuple[str, ...]


def find_damage(table: Table) -> Damage | None:
    """Check the files of the current snapshot and the tagged ones; None if all exist.

    Raises: NotReady, also if the whole bucket is gone: nothing is to be repaired then.
    """
    checker = _FileChecker(table)
    current = table.iceberg.current_snapshot()
    tagged = {name: table.iceberg.snapshot_by_id(snapshot_id) for name, snapshot_id in _tags(table).items()}
    with translating_errors(f"looking for the files of {table.name}"):
        missing = () if current is None else checker.missing(current)
        broken = tuple(name for name, snapshot in tagged.items() if snapshot is not None and checker.missing(snapshot))
        if missing or broken:
            folders.refuse_missing_bucket(*folders.filesystem(table.iceberg.io, table.location), without_secrets(table.location))
        if not missing:
            return Damage((), table.snapshot_id, broken) if broken else None
        whole = next((snapshot for snapshot in ancestors_of(current, table.iceberg.metadata) if not checker.missing(snapshot)), None)
    return Damage(missing, None if whole is None else whole.snapshot_id, broken)


def missing_files(table: Table, snapshot_id: int) -> tuple[str, ...]:
    """The missing files of one snapshot; empty if all exist. Raises: NotFound if the table does not have the snapshot; NotReady."""
    snapshot = tables.snapshot(table, snapshot_id)
    with translating_errors(f"looking for the files of {table.name}"):
        return _FileChecker(table).missing(snapshot)


def roll_back(table: Table, damage: Damage, properties: Mapping[str, str], drop: Collection[str]) -> None:
    """Make the last complete snapshot the current one, and set the table properties that belong to it; the handle then shows it.

    Raises: CommitConflict if another writer was first.
    """
    current = table.snapshot_id

    def stage(fresh: Table) -> Transaction:
        if fresh.snapshot_id != current:
            raise CommitConflict(f"another writer changed {table.name}; check it again", table=table.name)
        transaction = begin(fresh)
        stage_properties(transaction, fresh, properties, drop)
        update: TableUpdate = RemoveSnapshotRefUpdate(ref_name=MAIN_BRANCH)  # type: ignore[call-arg]
        if damage.back_to is not None:
            update = SetSnapshotRefUpdate(  # type: ignore[call-arg]
                ref_name=MAIN_BRANCH, type=SnapshotRefType.BRANCH, snapshot_id=damage.back_to
            )
        StagedUpdates(transaction, [update], ()).commit()
        add_requirements(transaction, AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=current))  # type: ignore[call-arg]
        return transaction

    commit(table, stage, undone="it was not rolled back")


def _tags(table: Table) -> dict[str, int]:
    return {name: ref.snapshot_id for name, ref in table.iceberg.refs().items() if ref.snapshot_ref_type == SnapshotRefType.TAG}


class _FileChecker:
    """Checks which files of a table exist, each at most once."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._there: dict[str, bool] = {}
        self._of: dict[str, tuple[str, ...]] = {}
        self._listed: frozenset[str] | None = None

    def missing(self, snapshot: Snapshot) -> tuple[str, ...]:
        """The missing files of a snapshot; those that only a missing manifest list or manifest names are unknown."""
        if not self._look([snapshot.manifest_list]):
            return (snapshot.manifest_list,)
        manifests = snapshot.manifests(self._table.iceberg.io)
        self._look([manifest.manifest_path for manifest in manifests])
        gone = [manifest.manifest_path for manifest in manifests if not self._there[manifest.manifest_path]]
        files: list[str] = []
        known = [manifest.manifest_path for manifest in manifests]
        preload(self._table.iceberg.io, [path for path in known if self._there[path] and path not in self._of])
        for manifest in manifests:
            path = manifest.manifest_path
            if self._there[path] and path not in self._of:
                entries = manifest.fetch_manifest_entry(self._table.iceberg.io, discard_deleted=True)
                self._of[path] = tuple(entry.data_file.file_path for entry in entries)
            files += self._of.get(path, ())
        self._look(files)
        return (*gone, *(path for path in files if not self._there[path]))

    def _list(self, filesystem: pafs.FileSystem, folder: str) -> frozenset[str]:
        """The paths in the folder of a table on an object store, which lists a thousand by one request; elsewhere none."""
        if self._listed is None:
            found: list[pafs.FileInfo] = []
            if not isinstance(filesystem, pafs.LocalFileSystem):
                found = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True, recursive=True))
            self._listed = frozenset(info.path for info in found if info.type == pafs.FileType.File)
        return self._listed

    def _look(self, locations: Collection[str]) -> bool:
        """Whether all of these files exist."""
        filesystem, folder = folders.filesystem(self._table.iceberg.io, self._table.iceberg.location())
        listed = self._list(filesystem, folder)
        unknown = [location for location in dict.fromkeys(locations) if location not in self._there]
        for location in unknown:
            if parse_location(location, self._table.iceberg.io.properties)[2] in listed:
                self._there[location] = True
        unknown = [location for location in unknown if location not in self._there]
        for start in range(0, len(unknown), LOOKUP_BATCH):
            several = unknown[start : start + LOOKUP_BATCH]
            paths = [parse_location(location, self._table.iceberg.io.properties)[2] for location in several]
            for location, info in zip(several, filesystem.get_file_info(paths), strict=True):
                self._there[location] = info.type == pafs.FileType.File
        return all(self._there[location] for location in locations)
