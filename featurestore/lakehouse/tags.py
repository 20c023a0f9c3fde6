"""A tag keeps a snapshot from ever expiring; once set it is never moved."""

from collections.abc import Collection

from pyiceberg.table import Table, Transaction
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import AssertRefSnapshotId, RemovePropertiesUpdate, SetPropertiesUpdate
from pyiceberg.table.update.snapshot import ManageSnapshots

from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import tables
from featurestore.lakehouse.commits import begin, commit
from featurestore.lakehouse.fence import commit_fenced, is_fence, take_down
from featurestore.lakehouse.requirements import Staged, as_loaded, require

NOTE = "featurestore.tagged."
"""Begins the table property that has the note of the tag whose name follows."""


def tag(table: Table, name: str, snapshot_id: int, note: str | None = None) -> bool:
    """Give the snapshot this name for good, or for as long as `note` says; the handle then shows it.

    The note is set in the same commit, also where the tag is there already. Returns whether the tag is new.
    Raises: Conflict if the name is another snapshot's, or a branch's; NotFound if there is no such snapshot (any more).
    """
    new = False

    def stage(fresh: Table) -> Transaction | None:
        nonlocal new
        tables.snapshot(fresh, snapshot_id)
        held = fresh.refs().get(name)
        if held is not None and (held.snapshot_ref_type != SnapshotRefType.TAG or held.snapshot_id != snapshot_id):
            raise Conflict(f"{name!r} of {'.'.join(table.name())} is the snapshot {held.snapshot_id}, not {snapshot_id}", tag=name)
        new = held is None
        if held is not None and (note is None or fresh.properties.get(NOTE + name) == note):
            return None
        transaction = begin(fresh)
        noted = [] if note is None else [SetPropertiesUpdate(updates={NOTE + name: note})]
        Staged(transaction, noted, as_loaded(fresh, free_refs=() if held else [name], properties=[NOTE + name])).commit()
        if held is None:
            ManageSnapshots(transaction).create_tag(snapshot_id, name).commit()
        require(transaction, AssertRefSnapshotId(ref=name, snapshot_id=None if held is None else snapshot_id))  # type: ignore[call-arg]
        take_down(transaction, fresh)
        return transaction

    commit(table, stage, undone=f"the tag {name!r} is not set")
    return new


def settle(table: Table, kept: Collection[str], released: Collection[str]) -> None:
    """Drop the notes of the tags `kept`, which are for good then, and `released` tags with their notes, in one commit.

    The handle then shows the new state. Raises: CommitConflict if one of the notes has changed since it was loaded; nothing is then.
    """
    names = [NOTE + name for name in (*kept, *released)]
    loaded = {name: table.properties.get(name) for name in names}

    def stage(fresh: Table) -> Transaction | None:
        held = [name for name in released if name in fresh.refs()]
        noted = [name for name in names if name in fresh.properties]
        if any(fresh.properties[name] != loaded[name] for name in noted):
            raise CommitConflict(f"another build holds a tag of {'.'.join(table.name())} by now; its tags are as they were")
        if not held and not noted:
            return None
        transaction = begin(fresh)
        dropped = [RemovePropertiesUpdate(removals=noted)] if noted else []
        Staged(transaction, dropped, as_loaded(fresh, properties=names)).commit()
        for name in held:
            ManageSnapshots(transaction).remove_tag(name).commit()
        return transaction

    commit_fenced(table, stage, undone="its tags are as they were")


def notes(table: Table) -> dict[str, str]:
    """The notes that the handle shows, by the names of their tags."""
    return {name.removeprefix(NOTE): note for name, note in table.properties.items() if name.startswith(NOTE)}


def tags(table: Table) -> dict[str, int]:
    """The snapshot ids of all tags that the handle shows."""
    return {
        name: ref.snapshot_id for name, ref in table.refs().items() if ref.snapshot_ref_type == SnapshotRefType.TAG and not is_fence(name)
    }
