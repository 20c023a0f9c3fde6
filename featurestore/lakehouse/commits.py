"""A commit is a compare-and-swap: it lands on the state that the handle shows, or it raises and leaves nothing behind.

Where the answer to one is lost, the catalog is asked again before anyone decides; where that is not to be had either, what was
written stays and the error says so.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NoSuchTableError,
    RESTError,
    ServerError,
    ServiceUnavailableError,
    ValidationException,
)
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AssertTableUUID, RemovePropertiesUpdate, SetPropertiesUpdate, TableUpdate

from featurestore.errors import CommitConflict, CommitUnknown, FeatureStoreError, NotReady
from featurestore.lakehouse.landed import landed
from featurestore.lakehouse.reaching import UNREACHABLE, forget_connections, out_of_room, told
from featurestore.lakehouse.requirements import Staged, as_loaded
from featurestore.secrets import logger_of

logger = logger_of(__name__)

ATTEMPTS = 100
"""How often a commit that does not depend on what others wrote is tried: each lost try means that another writer won one."""

SENT = 3
"""How often one commit is sent whose answer is lost: if an earlier one lands after all, a later one cannot."""

PAUSES = (0.0, 0.2, 1.0)
"""The seconds before each time that the catalog is asked what became of a commit."""

Stage = Callable[[Table], Transaction | None]
"""A transaction on the state that a handle shows; None where there is nothing to do."""


def begin(table: Table) -> Transaction:
    """A transaction on the state that the handle shows, which is sent once, whatever the table's properties say."""
    policy = {"commit.retry.num-retries": "0"}
    metadata = table.metadata.model_copy(update={"properties": {**table.metadata.properties, **policy}})
    return _Transaction(Table(table.name(), metadata, table.metadata_location, table.io, table.catalog, table.config))


class _Transaction(Transaction):
    """A transaction that makes its metadata once for what is staged, and not anew, with every snapshot, each time that they are read."""

    _made: tuple[tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with what is staged so far; nobody may change them."""
        if self._made is None or self._made[0] is not self._updates:
            self._made = (self._updates, super().table_metadata)
        return self._made[1]


def commit(
    table: Table,
    stage: Stage,
    *,
    attempts: int = ATTEMPTS,
    undone: str = "nothing was changed",
    sending: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> bool:
    """Commit what `stage` makes of the table, and of its newest state each time that another writer was first.

    The handle then shows the new state. Each commit is sent within the block `sending`. Returns whether there was anything to commit.
    Raises: CommitConflict when other writers never pause, with what is `undone` then, and what `stage` raises; else as `execute`.
    """
    fresh = table
    for attempt in range(attempts):
        transaction = stage(fresh)
        if transaction is None:
            _show(table, fresh)
            return False
        try:
            with sending():
                execute(fresh, transaction)
        except CommitConflict:
            if attempt == attempts - 1 == 0:
                raise
            fresh = reloaded(fresh)
            continue
        _show(table, fresh)
        return True
    raise CommitConflict(f"{named(table)} is being changed without pause; {undone}", table=named(table))


def execute(table: Table, transaction: Transaction) -> None:
    """Commit; the handle then shows the new state.

    Raises: CommitUnknown: the answer was lost, and the catalog did not tell what became of the commit: no file of it may be deleted.
    Any other error of ours, such as CommitConflict: nothing landed. An interrupt says in a note that the outcome is not known.
    """
    updates = transaction._updates
    requirements = (*transaction._requirements, AssertTableUUID(uuid=table.metadata.table_uuid))
    for sent in range(1, SENT + 1):
        handle = transaction._table
        try:
            # Not `commit_transaction`: it deletes the manifests of a commit that a server calls failed, and that may have landed.
            handle._do_commit(updates=updates, requirements=requirements)
        except Exception as error:  # noqa: BLE001 - whatever it is, it may have come after the commit landed
            fresh = _found(table, transaction, updates, error, last=sent == SENT)
            if fresh is None:
                logger.info("sending a commit to %s again after: %s", named(table), error)
                continue
            handle = fresh
        except BaseException as interrupt:
            forget_connections(table.catalog)
            interrupt.add_note(_unknown(table, "it was interrupted"))
            raise
        _show(table, handle)
        return


def outcome_unknown(error: BaseException) -> bool:
    """Whether an error, or an interrupt, came while a commit was under way of which nobody knows whether it landed."""
    return isinstance(error, CommitUnknown) or any(_UNKNOWN in note for note in getattr(error, "__notes__", ()))


def reloaded(table: Table) -> Table:
    """A new handle on the table as it is now. Raises: CommitConflict if it is gone; NotReady where it cannot be reached."""
    name = named(table)
    try:
        fresh = table.catalog.load_table(table.name())
    except NoSuchTableError as error:
        raise CommitConflict(f"the table {name} is gone", table=name) from error
    except UNREACHABLE as error:
        raise told(error, f"loading {name}") from error
    if fresh.metadata.table_uuid != table.metadata.table_uuid:
        raise CommitConflict(f"the table {name} was dropped and made anew", table=name)
    return fresh


def named(table: Table) -> str:
    """The table's name, with its namespace."""
    return ".".join(table.name())


_UNKNOWN = "whether the commit to"


def _unknown(table: Table, why: str) -> str:
    return (
        f"{_UNKNOWN} {named(table)} landed is not known: {why}; nothing was deleted. Run the same again when the catalog answers:"
        " what has landed is kept, what has not is swept by `featurestore maintain`"
    )


def _found(table: Table, transaction: Transaction, updates: tuple[TableUpdate, ...], error: Exception, *, last: bool) -> Table | None:
    """The table as it is when the commit has landed in spite of the error; None: it is not there, and may be sent again.

    Raises: CommitUnknown; the error of ours when it is known that nothing landed.
    """
    refused = _refused(table, error)
    if not (refused and isinstance(table.catalog, MetastoreCatalog)):
        try:
            fresh = _asked(table)
        except CommitConflict:
            # Another table has the name, or none: whatever was sent, nothing of it is in the way of anybody.
            raise
        except FeatureStoreError as silence:
            reason = told(error, "the answer").details.get("reason")
            raise CommitUnknown(_unknown(table, silence.message), table=named(table), reason=reason) from error
        there = landed(table, fresh, updates)
        if there:
            return fresh
        if there is None or (last and not refused):
            raise CommitUnknown(_unknown(table, "it is not to be seen yet"), table=named(table)) from error
    if not refused:
        return None
    # Known: what the transaction wrote is reached by nothing, and never will be.
    for producer in transaction._snapshot_producers:
        producer._clean_all_uncommitted()
    if isinstance(error, UNREACHABLE) and not isinstance(error, ValueError):
        raise told(error, f"committing to {named(table)}; nothing was written") from error
    raise CommitConflict(
        f"another writer changed {named(table)} first ({error}); nothing was written, try again", table=named(table)
    ) from error


def _asked(table: Table) -> Table:
    """The table as it is now, asked for several times. Raises: as `reloaded`."""
    forget_connections(table.catalog)
    for pause in PAUSES[:-1]:
        time.sleep(pause)
        try:
            return reloaded(table)
        except NotReady as error:
            logger.info("asking again what became of a commit, after: %s", error)
    time.sleep(PAUSES[-1])
    return reloaded(table)


def _refused(table: Table, error: Exception) -> bool:
    """Whether the error is a no, and not a lost answer. A server's no is looked into all the same: a proxy may have sent it twice."""
    if isinstance(error, CommitFailedException | ValidationException):
        return True
    if isinstance(table.catalog, MetastoreCatalog):
        # It writes the metadata before it swaps them in. The same updates fitted the state that the handle shows, so a ValueError
        # means that the table has changed under them.
        return (isinstance(error, OSError) and out_of_room(error)) or isinstance(error, ValueError)
    if not isinstance(error, RESTError) or isinstance(error, CommitStateUnknownException | ServerError | ServiceUnavailableError):
        return False
    # Here and not above: only a REST catalog speaks HTTP, and the library for it takes a while to import.
    from requests import HTTPError  # noqa: PLC0415

    answer = error.__cause__
    return isinstance(answer, HTTPError) and answer.response is not None and answer.response.status_code not in (408, 499)


def _show(table: Table, fresh: Table) -> None:
    table.metadata, table.metadata_location = fresh.metadata, fresh.metadata_location


def stage_properties(transaction: Transaction, table: Table, properties: Mapping[str, str], drop: Iterable[str] = ()) -> None:
    """Put properties, and the removal of others, into a transaction that fails if one of them changed since the handle was loaded."""
    gone = [name for name in drop if name in table.properties]
    updates: list[TableUpdate] = [SetPropertiesUpdate(updates=dict(properties))] if properties else []
    if gone:
        updates.append(RemovePropertiesUpdate(removals=gone))
    if updates:
        Staged(transaction, updates, as_loaded(table, properties=[*properties, *gone])).commit()
