"""Bound the number of snapshots that a table keeps: each is read and written again by every commit."""

from collections.abc import Callable, Collection
from functools import partial

from pyiceberg.table import Transaction
from pyiceberg.table.update import AssertTableUUID, RemoveSnapshotsUpdate, SetPropertiesUpdate

from featurestore.lakehouse.commits import begin
from featurestore.lakehouse.fence import commit_fenced, is_fence
from featurestore.lakehouse.maintenance import ExpiryNote
from featurestore.lakehouse.requirements import StagedUpdates, as_loaded
from featurestore.lakehouse.table import Table

MOST_SNAPSHOTS = 64
"""How many snapshots that nothing pins a table may have before some expire."""
KEPT_SNAPSHOTS = 32
"""How many of them are left: half, so that an expiry is one commit in as many others."""

ATTEMPTS = 3
"""Attempts of an expiry."""


def has_many_snapshots(table: Table) -> bool:
    """Whether the table has more than MOST_SNAPSHOTS snapshots that nothing pins, as the handle shows it."""
    return len(_unpinned(table)) > MOST_SNAPSHOTS


def bound_snapshots(table: Table, note: ExpiryNote, readers: Callable[[], Collection[int]]) -> int:
    """Expire all but the newest KEPT_SNAPSHOTS snapshots that nothing pins, if there are more than MOST_SNAPSHOTS; returns how many.

    The heads of tags and branches are kept, and those where incremental readers stand, which `readers` returns. No file is deleted: see
    `maintenance.remove_orphan_files`. The commit also sets the properties that `note` returns. The handle then shows the new state.
    Raises: CommitConflict after a few conflicts: a later run does it.
    """
    if not has_many_snapshots(table):
        return 0
    stand = frozenset(readers())
    expired: list[int] = []
    stage = partial(_stage, note=note, readers=stand, expired=expired)
    commit_fenced(table, stage, undone="no snapshot was expired", attempts=ATTEMPTS)
    return len(expired)


def _stage(table: Table, note: ExpiryNote, readers: Collection[int], expired: list[int]) -> Transaction | None:
    old = [snapshot_id for snapshot_id in _unpinned(table)[KEPT_SNAPSHOTS:] if snapshot_id not in readers]
    # Snapshots that an earlier attempt removed, whose response was lost, are counted too.
    expired[:] = [*(snapshot_id for snapshot_id in expired if table.iceberg.snapshot_by_id(snapshot_id) is None), *old]
    if not old:
        return None
    transaction = begin(table)
    # Removing a snapshot also removes its tags: the commit must fail if one was set meanwhile.
    requirements = (AssertTableUUID(uuid=table.iceberg.metadata.table_uuid), *as_loaded(table, unreferenced=old))
    removal = RemoveSnapshotsUpdate(snapshot_ids=old)  # type: ignore[call-arg]
    StagedUpdates(transaction, (removal, SetPropertiesUpdate(updates=dict(note(table.properties, len(old))))), requirements).commit()
    return transaction


def _unpinned(table: Table) -> list[int]:
    """The snapshots that no tag or branch refers to, the newest first."""
    pinned = {ref.snapshot_id for name, ref in table.iceberg.refs().items() if not is_fence(name)}
    return [snapshot_id for snapshot_id in reversed(table.snapshot_ids) if snapshot_id not in pinned]
