"""Detect tables that the online store has lost: they were published, but are absent there, or have too few rows, or those of others."""

import json
import threading
from collections.abc import Collection, Iterable, Mapping

from featurestore.errors import CommitConflict, NotReady
from featurestore.lakehouse import commits, tables
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.online.store import Cursor
from featurestore.records import feature_table
from featurestore.records.runtime import Runtime

logger = logger_of(__name__)

STORES = "featurestore.online-stores"
"""The property of a feature table that lists the identities of the online stores that it was published to, the newest last."""
_MOST_STORES = 20


def cursor_of(table: Table) -> Cursor:
    """The cursor of an online table that has all rows of the feature table."""
    through = feature_table.state_of(table.properties).through
    return Cursor(table.snapshot_id, through, table.uuid)


def is_foreign(cursor: Cursor, table: Table) -> bool:
    """Whether the rows online are of another table than this one: of the same name in another catalog, or removed since."""
    return cursor.table_id is not None and cursor.table_id != table.uuid


def note_published(runtime: Runtime, table: Table) -> None:
    """Record in the feature table that this online store has it: if it is missing there later, it was lost."""
    identity = runtime.online.identity()
    if identity is None or identity in _stores(table.properties):
        return

    def properties(fresh: Table) -> dict[str, str]:
        known = [store for store in _stores(fresh.properties) if store != identity]
        return {STORES: json.dumps([*known, identity][-_MOST_STORES:])}

    try:
        commits.commit(table, lambda fresh: tables.properties_transaction(fresh, properties(fresh)))
    except (CommitConflict, NotReady) as error:
        logger.warning("%s was published, but that was not recorded; the next publish records it: %s", table.name.rpartition(".")[2], error)


def _stores(properties: Mapping[str, str]) -> list[str]:
    stores: list[str] = json.loads(properties.get(STORES) or "[]")
    return stores


class OnlineTables:
    """Distinguishes absent tables that were never materialized from lost ones.

    `lost` says, by table, what is wrong with those that the online store lost in whole or in part, as far as that was noticed.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._empty: set[str] = set()
        self._generation = -1
        self.lost: Mapping[str, str] = {}

    def check_absent(self, absent: Collection[str]) -> None:
        """Check in the catalog that feature tables absent from the online store are empty; cached until the next publish.

        Raises: NotReady naming a table that is materialized.
        """
        generation = self._runtime.online.generation()
        with self._lock:
            if generation != self._generation:
                self._empty, self._generation = set(), generation
            unknown = set(absent) - self._empty
        for name in sorted(unknown):
            if feature_table.state_of(self._load(name).properties).through is not None:
                raise NotReady(
                    f"the online store has no rows of {name}, which is materialized: it was emptied, or the first publish is in progress;"
                    " run featurestore materialize to fill it",
                    table=name,
                )
        with self._lock:
            if generation == self._generation:
                self._empty |= unknown

    def verify(self, names: Iterable[str]) -> None:
        """Check feature tables in the online store: their presence, their origin, and the number of their rows.

        Raises: NotReady naming one that is wrong.
        """
        known = list(names)
        self.check_absent([name for name in known if self._runtime.online.cursor(name) is None])
        wrong = self.find_lost(known)
        self.lost = {**{name: why for name, why in self.lost.items() if name not in known}, **wrong}
        self.refuse_lost(known)

    def refuse_lost(self, names: Iterable[str]) -> None:
        """Raises: NotReady naming one of these tables that the online store has lost, as far as that was noticed."""
        lost = self.lost
        for name in names:
            if name in lost:
                raise NotReady(
                    f"{name} in the online store is not what was published: {lost[name]}; run featurestore publish to fill it", table=name
                )

    def find_lost(self, names: Iterable[str]) -> dict[str, str]:
        """Those of the feature tables that the online store has lost, and why: one that was published to a store before and is missing,
        is of another table, has too few rows, or the format of an earlier version.
        """
        online = self._runtime.online
        lost, others = {}, []
        for name in names:
            table, cursor = self._load(name), online.cursor(name)
            if cursor is not None and is_foreign(cursor, table):
                lost[name] = "its rows are of another table of this name"
                continue
            if cursor is None and _stores(table.properties):
                lost[name] = "it is missing"
            others.append(name)
        return {**lost, **online.incomplete(others)}

    def _load(self, name: str) -> Table:
        return tables.load(self._runtime.catalog, self._runtime.features_table(name))
