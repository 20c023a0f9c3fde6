"""Files of deleted rows, which other engines write beside the data: what a snapshot has of them, before anything is planned."""

from collections.abc import Iterable

from pyiceberg.manifest import DataFileContent, ManifestContent, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from featurestore.errors import NotReady, NotYet


def manifests(table: Table, snapshot: Snapshot) -> list[ManifestFile]:
    """The manifests of a snapshot, of data and of deletes. Raises: NotReady."""
    try:
        return snapshot.manifests(table.io)
    except OSError as error:
        raise _unreadable(table, error) from error


def refuse_equality(table: Table, manifests: Iterable[ManifestFile]) -> None:
    """Raises: NotYet when the manifests of a snapshot have equality deletes, whatever part of it is asked for; NotReady.

    A plan does not tell: it leaves a delete file out by the bounds of the rows that it holds, and rows with other times that
    it deletes would be read without a word.
    """
    try:
        for manifest in filter(_deletes, manifests):
            if any(entry.data_file.content == DataFileContent.EQUALITY_DELETES for entry in manifest.fetch_manifest_entry(table.io)):
                raise equality_deletes(table)
    except OSError as error:
        raise _unreadable(table, error) from error


def adds_deletes(table: Table, snapshot: Snapshot) -> bool:
    """Whether a snapshot brought files of deleted rows, whatever it says that it did. Raises: NotReady."""
    return any(_deletes(manifest) and manifest.added_snapshot_id == snapshot.snapshot_id for manifest in manifests(table, snapshot))


def equality_deletes(table: Table) -> NotYet:
    """The error for a table that has some."""
    name = ".".join(table.name())
    return NotYet(f"{name} has equality deletes, which cannot be read yet: rewrite its files (compaction) and try again", table=name)


def _deletes(manifest: ManifestFile) -> bool:
    return manifest.content == ManifestContent.DELETES


def _unreadable(table: Table, error: OSError) -> NotReady:
    return NotReady(f"the metadata of {'.'.join(table.name())} cannot be read: {error}")
