"""Which tables the online store has to hold: one that is not there though its view was materialized is lost, and no empty answer."""

import threading
from collections.abc import Collection

from featurestore.errors import NotReady
from featurestore.lakehouse import tables
from featurestore.records import feature_table
from featurestore.records.runtime import Runtime


class Filling:
    """Tells tables that were never materialized, of which nothing can be online, from those that should be there."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._empty: set[str] = set()
        self._generation = -1

    def check(self, missing: Collection[str]) -> None:
        """Take feature tables that the online store does not have. What the catalog says of them is remembered until the next publish.

        Raises: NotReady naming one that was materialized.
        """
        generation = self._runtime.online.generation()
        with self._lock:
            if generation != self._generation:
                self._empty, self._generation = set(), generation
            unknown = set(missing) - self._empty
        for table in sorted(unknown):
            properties = tables.load(self._runtime.catalog, self._runtime.features_table(table)).properties
            if feature_table.state_of(properties).through is not None:
                raise NotReady(
                    f"the online store has nothing of {table}, which is materialized: it was emptied, or its first rows are on their way;"
                    " featurestore materialize fills it",
                    table=table,
                )
        with self._lock:
            if generation == self._generation:
                self._empty |= unknown
