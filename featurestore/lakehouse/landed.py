"""Whether a commit of which no answer came has landed, as the table shows later on, also beneath what others put on top."""

from pyiceberg.table import Table
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


def landed(before: Table, now: Table, updates: tuple[TableUpdate, ...]) -> bool | None:
    """Whether updates of the table as it was `before` are in what it is `now`; None where that cannot be told.

    A snapshot has an id of its own, by which it is known. Without one the table must be what the updates wanted.
    """
    added = [update.snapshot for update in updates if isinstance(update, AddSnapshotUpdate)]
    if added:
        return _has(now, added[-1])
    return all(_holds(update, now.metadata) for update in updates)


def _has(table: Table, wanted: Snapshot) -> bool | None:
    if table.snapshot_by_id(wanted.snapshot_id) is not None:
        return True
    number = wanted.sequence_number or 0
    if isinstance(table.metadata, TableMetadataV1) or table.metadata.last_sequence_number < number:
        return False
    if any(snapshot.sequence_number == number for snapshot in table.snapshots()):
        # The turn was another writer's.
        return False
    # Whoever had that turn has expired since: what it added may still be in the files of today.
    current = table.current_snapshot()
    for manifest in current.manifests(table.io) if current is not None else ():
        if any(entry.snapshot_id == wanted.snapshot_id for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)):
            return True
    return None


def _holds(update: TableUpdate, metadata: TableMetadata) -> bool:
    match update:
        case SetPropertiesUpdate():
            return all(metadata.properties.get(name) == value for name, value in update.updates.items())
        case RemovePropertiesUpdate():
            return not any(name in metadata.properties for name in update.removals)
        case SetSnapshotRefUpdate():
            held = metadata.refs.get(update.ref_name)
            return held is not None and held.snapshot_id == update.snapshot_id
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
