"""What takes snapshots away must not take one that another process tags meanwhile: the one puts up a fence, and the other tears it down.

Where pyiceberg itself commits, `as_loaded` says all there is to say. A REST server checks nothing but what Iceberg defines, and
among that is which snapshot a ref stands for, or that there is none of its name. So, before it takes anything away, a process sets two
tags: FENCE, of which there is one, and a mark of its own, whose name nobody gives again. Whoever tags asserts FENCE as it was seen and
takes down all that is up. What takes snapshots away then asserts both: the mark is gone if anybody tagged since.
"""

import uuid

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.table import Table, Transaction
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotRefUpdate, SetSnapshotRefUpdate, TableRequirement

from featurestore.errors import CommitConflict
from featurestore.lakehouse.commits import ATTEMPTS, Stage, begin, commit, execute, named, reloaded
from featurestore.lakehouse.requirements import Staged, require

FENCE = "featurestore-fence"


def commit_fenced(table: Table, stage: Stage, *, undone: str = "nothing was changed") -> bool:
    """As `commits.commit`, of the newest state, for what takes away snapshots or tags: it lands only if nobody tagged since it looked.

    Raises: CommitConflict when other writers never pause; else as `commits.execute` and what `stage` raises.
    """
    if isinstance(table.catalog, MetastoreCatalog):
        fresh = reloaded(table)
        done = commit(fresh, stage, undone=undone)
        table.metadata, table.metadata_location = fresh.metadata, fresh.metadata_location
        return done
    for _ in range(ATTEMPTS):
        fresh = reloaded(table)
        if stage(fresh) is None:
            table.metadata, table.metadata_location = fresh.metadata, fresh.metadata_location
            return False
        mark = f"{FENCE}-{uuid.uuid4().hex}"
        commit(fresh, lambda now, mark=mark: _put_up(now, mark), undone=undone)  # type: ignore[misc]
        transaction = stage(fresh) or begin(fresh)
        held = {name: fresh.refs()[name].snapshot_id for name in (FENCE, mark)}
        Staged(transaction, [RemoveSnapshotRefUpdate(ref_name=name) for name in held], ()).commit()  # type: ignore[call-arg]
        require(transaction, *(_asserted(name, snapshot_id) for name, snapshot_id in held.items()))
        try:
            execute(fresh, transaction)
        except CommitConflict:
            continue
        table.metadata, table.metadata_location = fresh.metadata, fresh.metadata_location
        return True
    raise CommitConflict(f"{named(table)} is being changed without pause; {undone}", table=named(table))


def take_down(transaction: Transaction, table: Table) -> None:
    """Let the transaction, which tags, fail if a fence is put up before it lands, and take down the one that is up."""
    if isinstance(table.catalog, MetastoreCatalog):
        return
    up = _up(table)
    if up:
        Staged(transaction, [RemoveSnapshotRefUpdate(ref_name=name) for name in up], ()).commit()  # type: ignore[call-arg]
    require(transaction, _asserted(FENCE, up.get(FENCE)))


def is_fence(ref: str) -> bool:
    """Whether a ref is part of a fence, and so holds nothing."""
    return ref.startswith(FENCE)


def _put_up(table: Table, mark: str) -> Transaction:
    """Instead of one that is up: whoever put that up is dead, or will see."""
    current = table.current_snapshot()
    if current is None:
        raise CommitConflict(f"{named(table)} has lost its snapshots; nothing was changed", table=named(table))
    transaction = begin(table)
    up = _up(table)
    removed = [RemoveSnapshotRefUpdate(ref_name=name) for name in up if name != FENCE]  # type: ignore[call-arg]
    added = [
        SetSnapshotRefUpdate(ref_name=name, type=SnapshotRefType.TAG, snapshot_id=current.snapshot_id)  # type: ignore[call-arg]
        for name in (FENCE, mark)
    ]
    Staged(transaction, [*removed, *added], ()).commit()
    require(transaction, _asserted(FENCE, up.get(FENCE)))
    return transaction


def _up(table: Table) -> dict[str, int]:
    return {name: ref.snapshot_id for name, ref in table.refs().items() if is_fence(name)}


def _asserted(ref: str, snapshot_id: int | None) -> TableRequirement:
    return AssertRefSnapshotId(ref=ref, snapshot_id=snapshot_id)  # type: ignore[call-arg]
