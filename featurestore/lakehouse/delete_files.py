"""Delete files, which other engines write beside the data: find them in a snapshot's manifests before a scan is planned."""

from collections.abc import Iterable

from pyiceberg.manifest import DataFileContent, ManifestContent, ManifestFile
from pyiceberg.table.snapshots import Snapshot

from featurestore.errors import NotYet
from featurestore.lakehouse.catalog_errors import to_store_error
from featurestore.lakehouse.table import Table


def load_manifests(table: Table, snapshot: Snapshot) -> list[ManifestFile]:
    """Load the data and delete manifests of a snapshot. Raises: NotReady."""
    try:
        return snapshot.manifests(table.iceberg.io)
    except OSError as error:
        raise to_store_error(error, f"reading the metadata of {table.name}") from error


def refuse_equality_deletes(table: Table, load_manifests: Iterable[ManifestFile]) -> None:
    """Raise NotYet if a snapshot has equality deletes, even outside of the time range that is scanned; NotReady.

    Scan planning is not enough: it prunes delete files by the bounds of their own rows, and would silently return deleted rows with
    other times.
    """
    try:
        for manifest in filter(_is_delete_manifest, load_manifests):
            entries = manifest.fetch_manifest_entry(table.iceberg.io)
            if any(entry.data_file.content == DataFileContent.EQUALITY_DELETES for entry in entries):
                raise equality_deletes_error(table)
    except OSError as error:
        raise to_store_error(error, f"reading the metadata of {table.name}") from error


def adds_deletes(table: Table, snapshot: Snapshot) -> bool:
    """Whether a snapshot added delete files, whatever its operation says. Raises: NotReady."""
    return any(
        _is_delete_manifest(manifest) and manifest.added_snapshot_id == snapshot.snapshot_id for manifest in load_manifests(table, snapshot)
    )


def equality_deletes_error(table: Table) -> NotYet:
    """The error for a table with equality deletes."""
    name = table.name
    return NotYet(f"{name} has equality deletes, which cannot be read yet: rewrite its files (compaction) and try again", table=name)


def _is_delete_manifest(manifest: ManifestFile) -> bool:
    return manifest.content == ManifestContent.DELETES
