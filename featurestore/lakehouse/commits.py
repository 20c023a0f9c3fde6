"""Compare-and-swap commits: a commit applies to the state that the handle shows, or it raises and leaves nothing behind.

If the response is lost, the table is reloaded to find out whether the commit landed; if that fails too, the written files stay and
the error says so.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

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
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import (
    AssertTableUUID,
    RemovePropertiesUpdate,
    SetPropertiesUpdate,
    TableUpdate,
    _apply_table_update,
    _TableMetadataUpdateContext,
)

from featurestore.errors import CommitConflict, CommitUnknown, FeatureStoreError, NotReady
from featurestore.lakehouse.catalog_errors import UNREACHABLE, drop_connections, is_disk_full, to_store_error
from featurestore.lakehouse.commit_outcome import has_landed
from featurestore.lakehouse.object_errors import ObjectError
from featurestore.lakehouse.refusals import refusal
from featurestore.lakehouse.requirements import StagedUpdates, as_loaded
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of

logger = logger_of(__name__)

ATTEMPTS = 100
"""Attempts of a commit that does not depend on what others wrote: each lost attempt means that another writer's commit landed."""

FIRST_WAIT_SECONDS = 0.01
"""The longest wait before the second attempt; it doubles with each further one."""

MAX_WAIT_SECONDS = 0.5
"""The longest wait between two attempts."""

SEND_ATTEMPTS = 3
"""How often a commit is sent when its response is lost: if an earlier request lands after all, a later one cannot."""

RELOAD_DELAYS = (0.0, 0.2, 1.0)
"""Seconds to wait before each reload that looks for the outcome of a commit."""

T = TypeVar("T")

Stage = Callable[[Table], Transaction | None]
"""Builds a transaction on the state that a handle shows; None if there is nothing to commit."""


def begin(table: Table) -> Transaction:
    """Start a transaction on the state that the handle shows; pyiceberg does not retry it, whatever the table's properties say."""
    policy = {"commit.retry.num-retries": "0"}
    shown = table.iceberg
    metadata = shown.metadata.model_copy(update={"properties": {**shown.metadata.properties, **policy}})
    return _CachedTransaction(IcebergTable(shown.name(), metadata, shown.metadata_location, shown.io, shown.catalog, shown.config))


class _CachedTransaction(Transaction):
    """A transaction that caches its metadata: pyiceberg copies them, with every snapshot, each time that they are read."""

    _made: tuple[tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with the updates staged so far; read only, since they share what the updates leave as it is."""
        if self._made is None or self._made[0] is not self._updates:
            metadata, context = self._table.metadata, _TableMetadataUpdateContext()
            for update in self._updates:
                metadata = _apply_table_update(update, metadata, context)
            self._made = (self._updates, metadata)
        return self._made[1]


def commit(
    table: Table,
    stage: Stage,
    *,
    attempts: int = ATTEMPTS,
    undone: str = "nothing was changed",
    sending: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> bool:
    """Commit the transaction that `stage` builds, and build it again on the newest state each time that another writer was first.

    The handle then shows the new state. Each commit is sent within the context `sending`. Returns whether there was anything to commit.
    Raises: CommitConflict after `attempts` conflicts, ending with `undone`; what `stage` raises; else as `execute`.
    """
    fresh = table
    sent = False

    def attempt() -> bool:
        nonlocal sent
        sent = False
        transaction = stage(fresh)
        if transaction is not None:
            sent = True
            with sending():
                execute(fresh, transaction)
        table.show(fresh)
        return sent

    def recover(conflict: CommitConflict) -> None:
        nonlocal fresh
        if not sent:
            raise conflict
        fresh = reload(fresh)

    return retry(table.name, attempt, undone=undone, attempts=attempts, recover=recover)


def retry(
    name: str,
    attempt: Callable[[], T],
    *,
    undone: str,
    attempts: int = ATTEMPTS,
    recover: Callable[[CommitConflict], None] = lambda conflict: None,
) -> T:
    """Call `attempt` until it raises no CommitConflict, with random waits between the calls; returns its result.

    `name` is the table in conflict and `undone` says what was not done, for the error. Before each further attempt, `recover` is called
    with the conflict; it prepares that attempt, or raises what makes it useless. Neither may be called with a lock held.
    Raises: CommitConflict after `attempts` conflicts, with the details of the last one; the conflict itself if there is one attempt only.
    """
    for number in range(1, attempts):
        try:
            return attempt()
        except CommitConflict as conflict:
            recover(conflict)
        # Writers that wait for different times do not meet again.
        time.sleep(random.uniform(0.0, min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (number - 1))))
    try:
        return attempt()
    except CommitConflict as conflict:
        if attempts == 1:
            raise
        message = f"gave up after {attempts} commit conflicts on {name}; {undone}. Retry when writers are idle. The last one: {conflict}"
        raise CommitConflict(message, **{"table": name, **conflict.details}) from conflict


def execute(table: Table, transaction: Transaction) -> None:
    """Send a transaction; the handle then shows the new state.

    Raises: CommitUnknown if the response was lost and the catalog cannot say whether the commit landed: none of its files may be deleted.
    Any other FeatureStoreError, such as CommitConflict: nothing landed. An interrupt carries a note that the outcome is unknown.
    """
    updates = transaction._updates
    requirements = (*transaction._requirements, AssertTableUUID(uuid=table.iceberg.metadata.table_uuid))
    for sent in range(1, SEND_ATTEMPTS + 1):
        handle = Table(transaction._table)
        try:
            # Not `commit_transaction`: it deletes the manifests of a commit that a server reports as failed, and that may have landed.
            handle.iceberg._do_commit(updates=updates, requirements=requirements)
        except Exception as error:  # noqa: BLE001 - any error may have come after the commit landed
            fresh = _resolve_outcome(table, transaction, updates, error, last=sent == SEND_ATTEMPTS)
            if fresh is None:
                logger.info("sending a commit to %s again after: %s", table.name, error)
                continue
            handle = fresh
        except BaseException as interrupt:
            drop_connections(table.iceberg.catalog)
            interrupt.add_note(_unknown_message(table, "it was interrupted"))
            raise
        table.show(handle)
        return


def outcome_unknown(error: BaseException) -> bool:
    """Whether an error or interrupt left a commit whose outcome is unknown."""
    return isinstance(error, CommitUnknown) or any(_UNKNOWN_PREFIX in note for note in getattr(error, "__notes__", ()))


def reload(table: Table) -> Table:
    """Load a new handle of the table. Raises: CommitConflict if the table is gone; NotReady if it cannot be reached."""
    name = table.name
    try:
        fresh = Table(table.iceberg.catalog.load_table(table.iceberg.name()))
    except NoSuchTableError as error:
        raise CommitConflict(f"the table {name} is gone", table=name) from error
    except UNREACHABLE as error:
        raise to_store_error(error, f"loading {name}") from error
    if fresh.uuid != table.uuid:
        raise CommitConflict(f"the table {name} was dropped and created again", table=name)
    return fresh


_UNKNOWN_PREFIX = "whether the commit to"


def _unknown_message(table: Table, why: str) -> str:
    return (
        f"{_UNKNOWN_PREFIX} {table.name} landed is not known: {why}; nothing was deleted. Run the same again when the catalog"
        " answers: what has landed is kept; files of what has not are removed by `featurestore maintain`"
    )


def _resolve_outcome(
    table: Table, transaction: Transaction, updates: tuple[TableUpdate, ...], error: Exception, *, last: bool
) -> Table | None:
    """The reloaded table if the commit landed in spite of the error; None if it did not land and may be sent again.

    Raises: CommitUnknown; another FeatureStoreError if it is known that nothing landed.
    """
    refused = _is_refusal(table, error)
    if not (refused and isinstance(table.iceberg.catalog, MetastoreCatalog)):
        try:
            fresh = _reload_with_retries(table)
        except CommitConflict:
            # The table is gone, or its name belongs to another: the commit cannot land.
            raise
        except FeatureStoreError as silence:
            reason = to_store_error(error, "the answer").details.get("reason")
            raise CommitUnknown(_unknown_message(table, silence.message), table=table.name, reason=reason) from error
        there = has_landed(table, fresh, updates)
        if there:
            return fresh
        if there is None or (last and not refused):
            raise CommitUnknown(_unknown_message(table, "it is not visible yet"), table=table.name) from error
    if not refused:
        return None
    # The commit did not land, so nothing refers to the files that the transaction wrote.
    for producer in transaction._snapshot_producers:
        producer._clean_all_uncommitted()
    if isinstance(error, UNREACHABLE) and not isinstance(error, ValueError):
        raise refusal(table.name, updates, error) from error
    raise CommitConflict(
        f"another writer changed {table.name} first ({error}); nothing was written, try again", table=table.name
    ) from error


def _reload_with_retries(table: Table) -> Table:
    """Reload the table, with several attempts. Raises: as `reload`."""
    drop_connections(table.iceberg.catalog)
    for pause in RELOAD_DELAYS[:-1]:
        time.sleep(pause)
        try:
            return reload(table)
        except NotReady as error:
            logger.info("reloading the table again to look for a commit, after: %s", error)
    time.sleep(RELOAD_DELAYS[-1])
    return reload(table)


def _is_refusal(table: Table, error: Exception) -> bool:
    """Whether the error means that the commit was refused, not that its response was lost.

    A server's refusal is checked all the same: a proxy may have sent the request twice.
    """
    if isinstance(error, CommitFailedException | ValidationException):
        return True
    if isinstance(table.iceberg.catalog, MetastoreCatalog):
        # Metadata are written before they are swapped in. The same updates applied to the state that the handle shows, so a ValueError
        # means that the table has changed since.
        return (isinstance(error, OSError) and is_disk_full(error)) or isinstance(error, ValueError | ObjectError)
    if isinstance(error, NotImplementedError):
        return True
    if not isinstance(error, RESTError) or isinstance(error, CommitStateUnknownException | ServerError | ServiceUnavailableError):
        return False
    # Imported here: only a REST catalog needs it, and it is slow to import.
    from requests import HTTPError  # noqa: PLC0415

    answer = error.__cause__
    return isinstance(answer, HTTPError) and answer.response is not None and answer.response.status_code not in (408, 499)


def stage_properties(transaction: Transaction, table: Table, properties: Mapping[str, str], drop: Iterable[str] = ()) -> None:
    """Stage setting and removing properties; the commit fails if one of them changed since the handle was loaded."""
    gone = [name for name in drop if name in table.properties]
    updates: list[TableUpdate] = [SetPropertiesUpdate(updates=dict(properties))] if properties else []
    if gone:
        updates.append(RemovePropertiesUpdate(removals=gone))
    if updates:
        StagedUpdates(transaction, updates, as_loaded(table, properties=[*properties, *gone])).commit()
