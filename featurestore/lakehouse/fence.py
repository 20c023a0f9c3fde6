"""A fence of tags, so that removing snapshots cannot remove one that another process tags at the same time.

Where pyiceberg itself commits, the `as_loaded` requirement is enough. A REST server checks only Iceberg's own requirements, among them
which snapshot a ref points to, or that a ref does not exist. So a process sets two tags before it removes anything: FENCE, shared by
all, and a mark with a unique name. A process that tags requires FENCE to be as it saw it, and removes all fence tags. The removal of
snapshots then requires both tags: the mark is missing if anybody tagged since.
"""

import uuid

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.table import Transaction
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotRefUpdate, SetSnapshotRefUpdate, TableRequirement

from featurestore.errors import CommitConflict
from featurestore.lakehouse.commits import ATTEMPTS, Stage, begin, commit, execute, reload, retry
from featurestore.lakehouse.requirements import StagedUpdates, add_requirements
from featurestore.lakehouse.table import Table

FENCE = "featurestore-fence"


def commit_fenced(table: Table, stage: Stage, *, undone: str = "nothing was changed", attempts: int = ATTEMPTS) -> bool:
    """Commit the removal of snapshots or tags on the newest state, as `commits.commit`; it lands only if nobody set a tag meanwhile.

    Raises: CommitConflict after `attempts` conflicts; else as `commits.execute` and what `stage` raises.
    """
    if isinstance(table.iceberg.catalog, MetastoreCatalog):
        fresh = reload(table)
        done = commit(fresh, stage, undone=undone, attempts=attempts)
        table.show(fresh)
        return done
    sent = False

    def attempt() -> bool:
        nonlocal sent
        sent = False
        fresh = reload(table)
        if stage(fresh) is not None:
            mark = f"{FENCE}-{uuid.uuid4().hex}"
            commit(fresh, lambda newest: _set_fence(newest, mark), undone=undone)
            transaction = _with_fence_removed(fresh, stage(fresh) or begin(fresh), mark)
            sent = True
            execute(fresh, transaction)
        table.show(fresh)
        return sent

    def recover(conflict: CommitConflict) -> None:
        if not sent:
            raise conflict

    return retry(table.name, attempt, undone=undone, attempts=attempts, recover=recover)


def _with_fence_removed(table: Table, transaction: Transaction, mark: str) -> Transaction:
    """The transaction, which now also removes the fence and requires that nobody has removed it."""
    fence_refs = {name: table.iceberg.refs()[name].snapshot_id for name in (FENCE, mark)}
    StagedUpdates(transaction, [RemoveSnapshotRefUpdate(ref_name=name) for name in fence_refs], ()).commit()  # type: ignore[call-arg]
    add_requirements(transaction, *(_ref_requirement(name, snapshot_id) for name, snapshot_id in fence_refs.items()))
    return transaction


def remove_fence(transaction: Transaction, table: Table) -> None:
    """Stage the removal of the fence in a transaction that sets a tag; it fails if another fence is set before it lands."""
    if isinstance(table.iceberg.catalog, MetastoreCatalog):
        return
    fence_refs = _fence_refs(table)
    if fence_refs:
        StagedUpdates(transaction, [RemoveSnapshotRefUpdate(ref_name=name) for name in fence_refs], ()).commit()  # type: ignore[call-arg]
    add_requirements(transaction, _ref_requirement(FENCE, fence_refs.get(FENCE)))


def is_fence(ref: str) -> bool:
    """Whether a ref is part of a fence, which does not keep a snapshot."""
    return ref.startswith(FENCE)


def _set_fence(table: Table, mark: str) -> Transaction:
    """Replace an existing fence: its process has died, or will notice."""
    ids = table.snapshot_ids
    if not ids:
        raise CommitConflict(f"{table.name} has lost its snapshots; nothing was changed", table=table.name)
    # Any snapshot will do, also one that is about to be removed: its tags are removed in the same commit.
    anchor = ids[-1]
    transaction = begin(table)
    fence_refs = _fence_refs(table)
    removed = [RemoveSnapshotRefUpdate(ref_name=name) for name in fence_refs if name != FENCE]  # type: ignore[call-arg]
    added = [
        SetSnapshotRefUpdate(ref_name=name, type=SnapshotRefType.TAG, snapshot_id=anchor)  # type: ignore[call-arg]
        for name in (FENCE, mark)
    ]
    StagedUpdates(transaction, [*removed, *added], ()).commit()
    add_requirements(transaction, _ref_requirement(FENCE, fence_refs.get(FENCE)))
    return transaction


def _fence_refs(table: Table) -> dict[str, int]:
    return {name: ref.snapshot_id for name, ref in table.iceberg.refs().items() if is_fence(name)}


def _ref_requirement(ref: str, snapshot_id: int | None) -> TableRequirement:
    return AssertRefSnapshotId(ref=ref, snapshot_id=snapshot_id)  # type: ignore[call-arg]
