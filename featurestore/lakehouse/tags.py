"""A tag keeps a snapshot from ever expiring; once set it is never moved."""

from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update.snapshot import ManageSnapshots

from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import tables
from featurestore.lakehouse.commits import Staged, as_loaded, begin, execute, reloaded

_ATTEMPTS = 100


def tag(table: Table, name: str, snapshot_id: int) -> None:
    """Give the snapshot this name for good; the handle then shows it. The same name on the same snapshot: nothing to do.

    Raises: Conflict if the name is another snapshot's, or a branch's; NotFound if there is no such snapshot (any more).
    """
    fresh = table
    for _ in range(_ATTEMPTS):
        tables.snapshot(fresh, snapshot_id)
        held = fresh.refs().get(name)
        if held is not None:
            if held.snapshot_ref_type == SnapshotRefType.TAG and held.snapshot_id == snapshot_id:
                table.metadata, table.metadata_location = fresh.metadata, fresh.metadata_location
                return
            raise Conflict(f"{name!r} of {'.'.join(table.name())} is the snapshot {held.snapshot_id}, not {snapshot_id}", tag=name)
        transaction = begin(fresh)
        Staged(transaction, (), as_loaded(fresh, free_refs=[name])).commit()
        ManageSnapshots(transaction).create_tag(snapshot_id, name).commit()
        try:
            execute(fresh, transaction)
        except CommitConflict:
            fresh = reloaded(fresh)
    raise CommitConflict(f"{'.'.join(table.name())} is being changed without pause; the tag {name!r} is not set")


def tags(table: Table) -> dict[str, int]:
    """The snapshot ids of all tags that the handle shows."""
    return {name: ref.snapshot_id for name, ref in table.refs().items() if ref.snapshot_ref_type == SnapshotRefType.TAG}
