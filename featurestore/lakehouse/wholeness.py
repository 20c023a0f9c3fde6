"""Whether all files of a snapshot are there, and the way back to the last one of which they are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow.fs as pafs
from pyiceberg.table import Table, Transaction
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotRefUpdate, SetSnapshotRefUpdate, TableUpdate

from featurestore.errors import CommitConflict
from featurestore.lakehouse import folders, tables
from featurestore.lakehouse.commits import begin, commit, named, stage_properties
from featurestore.lakehouse.local_io import parse_location
from featurestore.lakehouse.reaching import reaching
from featurestore.lakehouse.requirements import Staged, require

AT_ONCE = 1000
"""So many files are looked for by one question."""


@dataclass(frozen=True)
class Damage:
    """A table whose current snapshot lacks files, or of which a tagged one does.

    `missing` are those of the current snapshot; `back_to` is the last whole one before it (None: there is none); `tags` are those of
    snapshots that lack files.
    """

    missing: tuple[str, ...]
    back_to: Snapshot | None
    tags: tuple[str, ...]


def damage(table: Table) -> Damage | None:
    """What is missing of the current snapshot and the tagged ones; None if all is there. Raises: NotReady."""
    looked = _Files(table)
    current = table.current_snapshot()
    tagged = {name: table.snapshot_by_id(snapshot_id) for name, snapshot_id in _tags(table).items()}
    with reaching(f"looking for the files of {named(table)}"):
        missing = () if current is None else looked.missing(current)
        broken = tuple(name for name, snapshot in tagged.items() if snapshot is not None and looked.missing(snapshot))
        if not missing:
            return Damage((), current, broken) if broken else None
        whole = next((found for found in ancestors_of(current, table.metadata) if not looked.missing(found)), None)
    return Damage(missing, whole, broken)


def lead_back(table: Table, found: Damage, properties: Mapping[str, str], drop: Collection[str]) -> None:
    """Make the last whole snapshot the current one, with the table's properties of then; the handle then shows it.

    Raises: CommitConflict if another writer was first.
    """
    current = tables.current_snapshot_id(table)

    def stage(fresh: Table) -> Transaction:
        if tables.current_snapshot_id(fresh) != current:
            raise CommitConflict(f"another writer changed {named(table)}; look at it again", table=named(table))
        transaction = begin(fresh)
        stage_properties(transaction, fresh, properties, drop)
        update: TableUpdate = RemoveSnapshotRefUpdate(ref_name=MAIN_BRANCH)  # type: ignore[call-arg]
        if found.back_to is not None:
            update = SetSnapshotRefUpdate(  # type: ignore[call-arg]
                ref_name=MAIN_BRANCH, type=SnapshotRefType.BRANCH, snapshot_id=found.back_to.snapshot_id
            )
        Staged(transaction, [update], ()).commit()
        require(transaction, AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=current))  # type: ignore[call-arg]
        return transaction

    commit(table, stage, undone="it is as it was")


def _tags(table: Table) -> dict[str, int]:
    return {name: ref.snapshot_id for name, ref in table.refs().items() if ref.snapshot_ref_type == SnapshotRefType.TAG}


class _Files:
    """Which files of a table are there; each is looked for once."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._there: dict[str, bool] = {}
        self._of: dict[str, tuple[str, ...]] = {}

    def missing(self, snapshot: Snapshot) -> tuple[str, ...]:
        """The locations of a snapshot's files that are not there; what only a missing list or manifest names is not known."""
        if not self._look([snapshot.manifest_list]):
            return (snapshot.manifest_list,)
        manifests = snapshot.manifests(self._table.io)
        self._look([manifest.manifest_path for manifest in manifests])
        gone = [manifest.manifest_path for manifest in manifests if not self._there[manifest.manifest_path]]
        files: list[str] = []
        for manifest in manifests:
            path = manifest.manifest_path
            if self._there[path] and path not in self._of:
                entries = manifest.fetch_manifest_entry(self._table.io, discard_deleted=True)
                self._of[path] = tuple(entry.data_file.file_path for entry in entries)
            files += self._of.get(path, ())
        self._look(files)
        return (*gone, *(path for path in files if not self._there[path]))

    def _look(self, locations: Collection[str]) -> bool:
        """Whether all of them are there."""
        filesystem, _ = folders.filesystem(self._table.io, self._table.location())
        unknown = [location for location in dict.fromkeys(locations) if location not in self._there]
        for start in range(0, len(unknown), AT_ONCE):
            several = unknown[start : start + AT_ONCE]
            paths = [parse_location(location, self._table.io.properties)[2] for location in several]
            for location, info in zip(several, filesystem.get_file_info(paths), strict=True):
                self._there[location] = info.type == pafs.FileType.File
        return all(self._there[location] for location in locations)
