"""Tags keep snapshots from expiring; a tag is never moved."""

from collections.abc import Collection

from pyiceberg.table import Transaction
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    RemovePropertiesUpdate,
    RemoveSnapshotRefUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
)
from pyiceberg.table.update.snapshot import ManageSnapshots

from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import tables
from featurestore.lakehouse.commits import begin, commit
from featurestore.lakehouse.fence import commit_fenced, is_fence, remove_fence
from featurestore.lakehouse.requirements import StagedUpdates, add_requirements, as_loaded
from featurestore.lakehouse.table import Table

NOTE_PREFIX = "featurestore.tagged."
"""Prefix of the table property with the note of a tag; the tag's name follows."""


def set_tag(table: Table, name: str, snapshot_id: int, note: str | None = None) -> bool:
    """Tag a snapshot; the handle then shows the tag. A `note` marks a tag that may be released later.

    The note is set in the same commit, also if the tag already exists. Returns whether the tag is new.
    Raises: Conflict if the name belongs to another snapshot or a branch; NotFound if the snapshot does not exist or has expired.
    """
    new = False

    def stage(fresh: Table) -> Transaction | None:
        nonlocal new
        tables.snapshot(fresh, snapshot_id)
        ref = fresh.iceberg.refs().get(name)
        if ref is not None and (ref.snapshot_ref_type != SnapshotRefType.TAG or ref.snapshot_id != snapshot_id):
            raise Conflict(f"{name!r} of {table.name} is the snapshot {ref.snapshot_id}, not {snapshot_id}", tag=name)
        new = ref is None
        if ref is not None and (note is None or fresh.properties.get(NOTE_PREFIX + name) == note):
            return None
        transaction = begin(fresh)
        updates = [] if note is None else [SetPropertiesUpdate(updates={NOTE_PREFIX + name: note})]
        StagedUpdates(transaction, updates, as_loaded(fresh, free_refs=() if ref else [name], properties=[NOTE_PREFIX + name])).commit()
        if ref is None:
            ManageSnapshots(transaction).create_tag(snapshot_id, name).commit()
        add_requirements(transaction, AssertRefSnapshotId(ref=name, snapshot_id=None if ref is None else snapshot_id))  # type: ignore[call-arg]
        remove_fence(transaction, fresh)
        return transaction

    commit(table, stage, undone=f"the tag {name!r} was not set")
    return new


def settle_tags(table: Table, kept: Collection[str], released: Collection[str]) -> None:
    """Remove the notes of the `kept` tags, which makes them permanent, and the `released` tags with their notes, in one commit.

    The handle then shows the new state. Raises: CommitConflict if a note has changed since the handle was loaded; nothing changes then.
    """
    names = [NOTE_PREFIX + name for name in (*kept, *released)]
    loaded = {name: table.properties.get(name) for name in names}

    def stage(fresh: Table) -> Transaction | None:
        present = [name for name in released if name in fresh.iceberg.refs()]
        stored = [name for name in names if name in fresh.properties]
        if any(fresh.properties[name] != loaded[name] for name in stored):
            raise CommitConflict(f"another build now uses a tag of {table.name}; its tags were not changed")
        if not present and not stored:
            return None
        transaction = begin(fresh)
        dropped = [RemovePropertiesUpdate(removals=stored)] if stored else []
        StagedUpdates(transaction, dropped, as_loaded(fresh, properties=names)).commit()
        for name in present:
            ManageSnapshots(transaction).remove_tag(name).commit()
        return transaction

    commit_fenced(table, stage, undone="its tags were not changed")


def remove_tagged(table: Table, name: str) -> None:
    """Remove a tag; if its snapshot is the current one, the newest other tagged snapshot becomes that, or none.

    The handle then shows the new state. Raises: CommitConflict if the tag is gone or another one.
    """
    snapshot_id = tags(table)[name]

    def stage(fresh: Table) -> Transaction | None:
        if tags(fresh).get(name) != snapshot_id:
            raise CommitConflict(f"another program changed the tag {name!r} of {table.name}", tag=name)
        updates: list[TableUpdate] = [RemoveSnapshotRefUpdate(ref_name=name)]  # type: ignore[call-arg]
        current = fresh.snapshot_id
        if current == snapshot_id:
            others = {tagged for other, tagged in tags(fresh).items() if other != name and tagged != snapshot_id}
            newest = next((id for id in reversed(fresh.snapshot_ids) if id in others), None)
            updates.append(
                RemoveSnapshotRefUpdate(ref_name=MAIN_BRANCH)  # type: ignore[call-arg]
                if newest is None
                else SetSnapshotRefUpdate(ref_name=MAIN_BRANCH, type=SnapshotRefType.BRANCH, snapshot_id=newest)  # type: ignore[call-arg]
            )
        transaction = begin(fresh)
        StagedUpdates(transaction, updates, ()).commit()
        add_requirements(
            transaction,
            AssertRefSnapshotId(ref=name, snapshot_id=snapshot_id),  # type: ignore[call-arg]
            AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=current),  # type: ignore[call-arg]
        )
        return transaction

    commit(table, stage, undone=f"the tag {name!r} was not removed")


def notes(table: Table) -> dict[str, str]:
    """The notes that the handle shows, by tag name."""
    return {name.removeprefix(NOTE_PREFIX): note for name, note in table.properties.items() if name.startswith(NOTE_PREFIX)}


def has_ref(table: Table, name: str) -> bool:
    """Whether the handle shows a tag or a branch of this name."""
    return name in table.iceberg.refs()


def tags(table: Table) -> dict[str, int]:
    """The snapshot ids of all tags that the handle shows, by tag name."""
    return {
        name: ref.snapshot_id
        for name, ref in table.iceberg.refs().items()
        if ref.snapshot_ref_type == SnapshotRefType.TAG and not is_fence(name)
    }
