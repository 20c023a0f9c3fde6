"""A commit is a compare-and-swap: it lands on the state that the handle shows, or it raises and leaves nothing behind."""

import errno
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field
from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, ValidationException
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import (
    RemovePropertiesUpdate,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
    UpdatesAndRequirements,
    UpdateTableMetadata,
    ValidatableTableRequirement,
)

from featurestore.errors import CommitConflict, NotReady, OutOfResources
from featurestore.lakehouse.catalog import UNREACHABLE
from featurestore.secrets import logger_of

logger = logger_of(__name__)


class AsLoaded(ValidatableTableRequirement):
    """What Iceberg's own requirements cannot say about the state a commit was built on."""

    type: Literal["featurestore-as-loaded"] = "featurestore-as-loaded"
    properties: dict[str, str | None] = Field(default_factory=dict)
    free_refs: tuple[str, ...] = ()
    unreferenced: tuple[int, ...] = ()
    schemas: int | None = None

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]
        """Raises: CommitFailedException if the table as it is now differs."""
        if base_metadata is None:
            raise CommitFailedException("the table is gone")
        moved = [key for key, value in self.properties.items() if base_metadata.properties.get(key) != value]
        moved += [name for name in self.free_refs if name in base_metadata.refs]
        moved += [name for name, ref in base_metadata.refs.items() if ref.snapshot_id in self.unreferenced]
        if self.schemas is not None and self.schemas != len(base_metadata.schemas):
            moved.append("schemas")
        if moved:
            raise CommitFailedException(f"changed since the table was loaded: {', '.join(moved)}")


class Staged(UpdateTableMetadata["Staged"]):
    """Updates and requirements that pyiceberg has no method for, put into a transaction by `commit()`.

    Requirements are checked against the transaction so far, before the updates; of each type a transaction keeps only the first.
    """

    def __init__(self, transaction: Transaction, updates: Iterable[TableUpdate], requirements: Iterable[TableRequirement]) -> None:
        super().__init__(transaction)
        self._staged = (tuple(updates), tuple(requirements))

    def _commit(self) -> UpdatesAndRequirements:
        return self._staged


def as_loaded(
    table: Table, *, properties: Iterable[str] = (), free_refs: Iterable[str] = (), unreferenced: Iterable[int] = (), schemas: bool = False
) -> tuple[TableRequirement, ...]:
    """A requirement that these parts are still as the handle shows them.

    Checked by every catalog that pyiceberg itself commits to; a REST server does not know it and checks what Iceberg defines.
    """
    if not isinstance(table.catalog, MetastoreCatalog):
        return ()
    expected = {key: table.properties.get(key) for key in properties}
    count = len(table.metadata.schemas) if schemas else None
    found = AsLoaded(properties=expected, free_refs=tuple(free_refs), unreferenced=tuple(unreferenced), schemas=count)
    return (found,)  # type: ignore[return-value]


def begin(table: Table, *, retries: int = 0) -> Transaction:
    """A transaction on the state that the handle shows, committed at most 1 + `retries` times, whatever the table's properties say."""
    policy = {"commit.retry.num-retries": str(retries), "commit.retry.min-wait-ms": "20", "commit.retry.max-wait-ms": "500"}
    metadata = table.metadata.model_copy(update={"properties": {**table.metadata.properties, **policy}})
    handle = Table(table.name(), metadata, table.metadata_location, table.io, table.catalog, table.config)
    return handle.transaction()


def execute(table: Table, transaction: Transaction, snapshot_id: int | None = None) -> None:
    """Commit; the handle then shows the new state.

    Raises: CommitConflict or OutOfResources: nothing landed. NotReady: whether it landed is not known (a sweep clears up if it did not).
    """
    name = ".".join(table.name())
    try:
        committed = transaction.commit_transaction()
    except (CommitFailedException, ValidationException, ValueError) as error:
        # The same updates fitted the state that the handle shows, so a ValueError means that the table has changed under them.
        raise CommitConflict(f"another writer changed {name} first ({error}); nothing was written, try again", table=name) from error
    except UNREACHABLE as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise OutOfResources(f"no space left to commit to {name}; nothing was written", table=name, resource="disk") from error
        committed = _landed(table, snapshot_id, error)
    table.metadata, table.metadata_location = committed.metadata, committed.metadata_location


def _landed(table: Table, snapshot_id: int | None, error: Exception) -> Table:
    name = ".".join(table.name())
    try:
        fresh = reloaded(table)
    except (NotReady, CommitConflict):
        logger.warning("%s cannot be loaded after a commit that failed", name)
        fresh = table
    if snapshot_id is not None and fresh.snapshot_by_id(snapshot_id) is not None:
        return fresh
    raise NotReady(f"the catalog failed while committing to {name}: {error}; look whether it landed before trying again") from error


def reloaded(table: Table) -> Table:
    """A new handle on the table as it is now. Raises: CommitConflict if it is gone; NotReady where it cannot be reached."""
    name = ".".join(table.name())
    try:
        fresh = table.catalog.load_table(table.name())
    except NoSuchTableError as error:
        raise CommitConflict(f"the table {name} is gone", table=name) from error
    except UNREACHABLE as error:
        raise NotReady(f"the table {name} cannot be loaded: {error}") from error
    if fresh.metadata.table_uuid != table.metadata.table_uuid:
        raise CommitConflict(f"the table {name} was dropped and made anew", table=name)
    return fresh


def stage_properties(transaction: Transaction, table: Table, properties: Mapping[str, str], drop: Iterable[str] = ()) -> None:
    """Put properties, and the removal of others, into a transaction that fails if one of them changed since the handle was loaded."""
    gone = [name for name in drop if name in table.properties]
    updates: list[TableUpdate] = [SetPropertiesUpdate(updates=dict(properties))] if properties else []
    if gone:
        updates.append(RemovePropertiesUpdate(removals=gone))
    if updates:
        Staged(transaction, updates, as_loaded(table, properties=[*properties, *gone])).commit()
