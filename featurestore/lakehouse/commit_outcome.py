"""Find out whether a commit whose response was lost has landed, even if others have committed on top of it."""

from pyiceberg.table.metadata import TableMetadata, TableMetadataV1
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AddSnapshotUpdate,
    RemovePropertiesUpdate,
    RemoveSnapshotRefUpdate,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
)

from featurestore.lakehouse.table import Table


def has_landed(before: Table, now: Table, updates: tuple[TableUpdate, ...]) -> bool | None:
    """Whether `updates`, built on the state `before`, are part of the state `now`; None if that cannot be determined.

    An added snapshot is recognized by its id. Without one, the table must be in the state that the updates ask for.
    """
    added = [update.snapshot for update in updates if isinstance(update, AddSnapshotUpdate)]
    if added:
        return _has_snapshot(now, added[-1])
    return all(_is_applied(update, now.iceberg.metadata) for update in updates)


def _has_snapshot(table: Table, other: Snapshot) -> bool | None:
    if table.iceberg.snapshot_by_id(other.snapshot_id) is not None:
        return True
    number = other.sequence_number or 0
    if isinstance(table.iceberg.metadata, TableMetadataV1) or table.iceberg.metadata.last_sequence_number < number:
        return False
    if any(other.sequence_number == number for other in table.iceberg.snapshots()):
        # Another writer got this sequence number.
        return False
    # The snapshot with that sequence number has expired: its files may still be in the current manifests.
    current = table.iceberg.current_snapshot()
    for manifest in current.manifests(table.iceberg.io) if current is not None else ():
        if any(entry.snapshot_id == other.snapshot_id for entry in manifest.fetch_manifest_entry(table.iceberg.io, discard_deleted=False)):
            return True
    return None


def _is_applied(update: TableUpdate, metadata: TableMetadata) -> bool:
    match update:
        case SetPropertiesUpdate():
            return all(metadata.properties.get(name) == value for name, value in update.updates.items())
        case RemovePropertiesUpdate():
            return not any(name in metadata.properties for name in update.removals)
        case SetSnapshotRefUpdate():
            ref = metadata.refs.get(update.ref_name)
            return ref is not None and ref.snapshot_id == update.snapshot_id
        case RemoveSnapshotRefUpdate():
            return update.ref_name not in metadata.refs
        case RemoveSnapshotsUpdate():
            return not any(snapshot.snapshot_id in update.snapshot_ids for snapshot in metadata.snapshots)
        case AddSchemaUpdate():
            return any(schema.fields == update.schema_.fields for schema in metadata.schemas)
        case SetCurrentSchemaUpdate():
            return update.schema_id in (-1, metadata.current_schema_id)
        case _:
            return False
